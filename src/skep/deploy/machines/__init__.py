"""Machines: the hosts that a fleet stands on, rented or one's own (the pacific library), and whether a host will do.

``checking`` looks at a host that one has, ``preparing`` makes it ready.
"""
