"""The pure pipeline: split, compress, seal, pack, code, manifests. No I/O."""
