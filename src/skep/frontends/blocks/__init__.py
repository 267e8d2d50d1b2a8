"""The door of raw files: ``/api/v0/``, as programs of the Qabel block server know it."""
