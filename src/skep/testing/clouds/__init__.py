"""Doubles of cloud providers: small HTTP servers that speak their documented wire protocols, with their failures.

    double = DropboxDouble()
    with double.served() as base_url:
        store = double.store()          # the real driver on the double
        double.fail(Rule("files/upload", status=429, headers={"retry-after": "3"}))

Each answers the provider's hosts as paths (``/api.dropboxapi.com/2/...``), as ``Provider.at`` asks for them. What they
answer is compared with examples from the providers' public documentation in ``tests/vectors/clouds``.
"""
