"""WebDAV, classes 1, 2 and 3 (RFC 4918), with quota (RFC 4331) and collection synchronisation (RFC 6578).

``/dav/`` is the caller's own space; ``/dav-spaces/`` holds every space that the caller sees, each under its name or
id. One file per verb; ``app`` finds it, ``roots`` reads URLs, ``properties`` and ``multistatus`` write answers,
``refusals`` is the map of errors. The door decides nothing: locks, dead properties and the journal belong to the
filesystem.
"""
