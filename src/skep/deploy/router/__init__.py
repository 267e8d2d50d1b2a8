"""The router: domains lead to web jobs. nginx vhosts made per stack, tested aside, taken at once, drained.

``records`` says what a site is, ``config`` renders it, ``nginx`` runs it on a host, ``acme`` gets certificates.
"""
