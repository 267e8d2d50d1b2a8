"""Hashing, sealing, the key hierarchy and signatures, each bound to a format page."""
