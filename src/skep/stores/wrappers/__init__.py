"""Behaviour by wrapping: each is a Store over a Store and passes the same conformance suite."""
