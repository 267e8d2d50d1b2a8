"""Any S3-compatible object storage."""

from skep.stores.drivers.s3.config import S3Config
from skep.stores.drivers.s3.store import S3Store

__all__ = ["S3Config", "S3Store"]
