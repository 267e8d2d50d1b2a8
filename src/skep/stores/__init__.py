"""Places that hold shards: the protocol, the registry, drivers, wrappers, conformance."""
