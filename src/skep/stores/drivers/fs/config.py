"""``fs:///absolute/path?capacity=10GB``."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from skep.base.errors import InvalidStoreUrl
from skep.stores.url import StoreUrl

_FEW_DIRECTORIES, _MANY_DIRECTORIES, _MANY_FROM = 64, 320, 8_192
_FEW_FILES, _MANY_FILES = 64, 512


def _may_open_many() -> bool:
    """Whether this process may open files enough for several stores."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft == resource.RLIM_INFINITY or soft >= _MANY_FROM


def _affordable_directories() -> int:
    """All 256 that one kind of key fans out to, if that many may be open.

    With fewer, a put now and then opens its directory anew, which costs some 10 to 20 % of the rate of small puts.
    """
    return _MANY_DIRECTORIES if _may_open_many() else _FEW_DIRECTORIES


@dataclass(frozen=True, slots=True)
class FsConfig:
    """Where a directory store is and how much it may take."""

    OPTIONS: ClassVar[tuple[str, ...]] = ("capacity",)

    root: Path
    capacity_bytes: int | None = None
    """The most that the values may take together; None for what the disk has."""
    threads: int = 16
    open_files: int = field(default_factory=lambda: _MANY_FILES if _may_open_many() else _FEW_FILES)
    """How many objects stay open for reading."""
    open_directories: int = field(default_factory=lambda: _affordable_directories())
    """How many directories stay open for writing."""

    @classmethod
    def from_url(cls, url: StoreUrl) -> FsConfig:
        """Raises InvalidStoreUrl when the path is not absolute or a host is given."""
        if url.host:
            raise InvalidStoreUrl(f"{url.text!r} names a host: write three slashes, fs:///{url.host}{url.path}")
        path = url.path
        if not path.startswith("/") or os.path.normpath(path) != path.rstrip("/"):
            raise InvalidStoreUrl(f"{url.text!r} has no plain absolute path: write fs:///absolute/path")
        return cls(Path(path), url.size_option("capacity"))
