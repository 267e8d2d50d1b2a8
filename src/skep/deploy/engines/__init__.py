"""What runs jobs on one host: one protocol of eleven idempotent verbs, three drivers, one conformance suite.

``protocol`` is the contract; ``memory``, ``process`` and ``docker`` keep it; ``conformance`` proves it on a live one.
"""
