"""locknet: hosts of one list may talk to each other; of everyone else they hear only what is public.

``fence`` says who may reach what, as a pure function; ``nftables`` and ``iptables`` render it; ``locknet`` brings it to
hosts so that nobody is locked out; ``files`` keeps `/etc/hosts` and other files the same everywhere.
"""
