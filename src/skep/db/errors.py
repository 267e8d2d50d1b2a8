"""Errors that units of work meet beside those of ``skep.base.errors``."""

from __future__ import annotations

from skep.base.errors import AlreadyExists


class RowExists(AlreadyExists):
    """A primary or unique key is taken. The unit of work that met it is not committed."""
