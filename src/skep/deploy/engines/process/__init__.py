"""Plain processes of a host as jobs: no daemon, no containers, Python and a shell are enough.

``engine`` is HQ's half; ``skephost`` is the host's, which is sent there once and imports nothing of ours. ``building``
makes images, which are trees.
"""
