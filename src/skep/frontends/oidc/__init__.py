"""The hive as a small identity provider: ``/oauth/`` and its pages."""
