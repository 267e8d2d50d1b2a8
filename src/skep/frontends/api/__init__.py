"""The JSON API: one file per resource, each with a table of its operations.

The tables are the truth: the router, the authentication, the checks of queries and bodies and the
OpenAPI document are all made from them (``operation.py``, ``openapi.py``).
"""
