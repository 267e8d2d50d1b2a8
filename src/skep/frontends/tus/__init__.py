"""Resumable uploads over HTTP, at ``/tus/``: tus 1.0.0, and the IETF's draft of the same (interop version 8).

Both faces stand on the uploads of ``filesystem`` and share their URLs. A request with ``Tus-Resumable`` is of tus; one
without is of the draft (draft-ietf-httpbis-resumable-upload). One file per verb: ``create``, ``state`` (HEAD),
``append`` (PATCH), ``cancel`` (DELETE), ``options``; ``app`` leads to them.
"""
