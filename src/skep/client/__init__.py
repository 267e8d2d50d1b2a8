"""The HTTP client of the JSON API: threads and the standard library's sockets, no server package.

``http.client`` with ``sendfile`` costs a client 0.25 ns per byte up and 0.16 down; httpx costs
0.65 and 2.5 and half a second to import (measured against a server that drops or makes the
bytes). A command that must answer at once and fill a disk's bandwidth takes the first.

    transport   one exchange over pooled keep-alive connections
    problems    RFC 9457 problem details, back into the error tree
    retries     what is tried again, how often, after which pause
    sessions    access tokens, refreshed in time
    hive        the API: files, and what is under it
    trees       what a transfer would do (pure);  uploads, downloads  do it
"""
