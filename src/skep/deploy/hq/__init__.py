"""HQ: where people push to. It keeps what is to run, on which hosts, and who may say so.

``folder`` is its place on disk, ``state`` what it remembers (SQLite, or etcd for several HQs), ``people`` who may do
what, ``endpoint`` the SSH port for git and control, ``pushes`` what becomes of a push, ``webhook`` its HTTP sister,
``fleet`` the hosts, ``serving`` the program that puts all of them together.
"""
