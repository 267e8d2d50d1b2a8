"""The chunk service: placement, quorum writes, verified reads, scrub, repair, collection."""
