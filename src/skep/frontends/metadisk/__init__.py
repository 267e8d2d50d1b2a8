"""The MetaDisk door: content under its hash, for whoever has hash and key.

``/api/upload``, ``/api/download/<hash>``, ``/api/find/<hash>`` and ``/api/status``, one file each.
"""
