"""The agent: a program that lends a part of a disk to hives, from behind any router. It dials out and never listens.

``config``: what its user decided. ``home``: its directory. ``enrolment``: how it becomes known to a hive. ``link``: one
hive's link, kept up for ever. ``program``: all links of one directory, and the socket by which ``skep agent status``
asks. Installed alone as ``skep[agent]``: nothing here knows a database or a server.
"""
