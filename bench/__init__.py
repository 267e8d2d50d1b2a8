"""Measurements of a running hive, beside the peers that this machine has: ``python -m bench --help``."""
