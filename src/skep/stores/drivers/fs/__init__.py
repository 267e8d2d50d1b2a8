"""A directory of a local disk as a store. The layout on disk is in docs/formats/fs-store.md."""

from skep.stores.drivers.fs.config import FsConfig
from skep.stores.drivers.fs.store import FsStore

__all__ = ["FsConfig", "FsStore"]
