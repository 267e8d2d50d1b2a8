"""Accounts of cloud providers and WebDAV servers: one base (``base.py``, ``http.py``), one module for each."""
