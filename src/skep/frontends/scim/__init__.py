"""SCIM 2.0 (RFC 7643, 7644): directories elsewhere keep users and groups in step."""
