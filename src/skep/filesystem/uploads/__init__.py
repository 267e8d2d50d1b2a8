"""Uploads: contents that arrive in pieces, over many requests, and become a version when they are complete.

One core under several doors. An upload belongs to a user and a space, holds parts whose chunks are durable and
referenced, and becomes a version in one transaction that joins their manifests: no byte moves.

- *In a row*: ``append`` continues where the upload stands (tus, resumable uploads of HTTP, the Skep client).
- *In numbered parts*: ``put_part`` in any order and at once, then ``complete_upload`` (S3, chunked uploads).

``records`` is what goes in and out, ``rows`` the tables, ``arriving`` a body that may break off, ``growing`` and
``ending`` the functions over a transaction, ``reading`` looks at stored bytes; ``collecting``, ``appending`` and
``partwise`` are the face of ``Filesystem``, ``expiry`` is the worker.
"""
