"""The read cache: blocks of shards that lie on slow stores, kept on a disk of the hive's own machine."""

from skep.durability.cache.blocks import BlockCache, CacheCounters
from skep.durability.cache.disk import CacheDisk

__all__ = ["BlockCache", "CacheCounters", "CacheDisk"]
