"""Tables of signing in that are beside ``schema.users``: factors, recovery codes, the audit log. Owned by ``auth``."""

from __future__ import annotations

import sqlalchemy as sa

from skep.db.tables import BLOB, HASH, ID, INT, KEYTEXT, SHORT, TEXT
from skep.db.tables import column as _column
from skep.db.tables import table as _table

# What a user proves beside the password. A TOTP secret is needed in the clear to check a code: sealed.
factors = _table(
    "factors",
    _column("id", ID, primary_key=True),
    _column("user_id", ID, index=True),
    _column("kind", SHORT),  # totp | passkey
    _column("name", KEYTEXT),
    _column("credential_hash", HASH, null=True, unique=True),  # of a passkey's credential id
    _column("sealed", BLOB),  # the TOTP secret; a passkey's credential id and public key
    _column("counter", INT),  # totp: the last time step that was used; passkey: its last signature count
    _column("created_us", INT),
    _column("confirmed_us", INT, null=True),  # null: not proven yet, so it does not count
    _column("last_used_us", INT, null=True),
)
recovery_codes = _table(
    "recovery_codes",
    _column("user_id", ID, primary_key=True),
    _column("code_hash", HASH, primary_key=True),
    _column("used_us", INT, null=True),
    clustered=True,
)
# What was done to accounts and rights. Rows are only added; each one's hash covers the one before.
audit_entries = _table(
    "audit_entries",
    _column("number", INT, primary_key=True, autoincrement=False),
    _column("at_us", INT),
    _column("action", SHORT),
    _column("actor_id", ID, null=True),
    _column("actor", KEYTEXT),
    _column("subject_id", ID, null=True),
    _column("subject", KEYTEXT),
    _column("address", KEYTEXT),
    _column("facts", TEXT),  # JSON
    _column("hash", HASH),
    sa.Index("ix_audit_entries_actor_id_number", "actor_id", "number"),
    sa.Index("ix_audit_entries_subject_id_number", "subject_id", "number"),
    clustered=True,
)
# Where the chain is: ``head`` is its newest entry, ``start`` the last one that was removed for its age.
audit_ends = _table(
    "audit_ends",
    _column("name", SHORT, primary_key=True),
    _column("number", INT),
    _column("hash", HASH),
    clustered=True,
)
# Who vouches for people besides the hive itself (OpenID Connect), and whom each of them means by what.
identity_providers = _table(
    "identity_providers",
    _column("id", ID, primary_key=True),
    _column("name", SHORT, unique=True),
    _column("issuer", TEXT),
    _column("client_id", KEYTEXT),
    _column("sealed_secret", BLOB, null=True),
    _column("rules", TEXT),  # JSON: scopes, claims, groups, quotas
    _column("created_us", INT),
)
identities = _table(
    "identities",
    _column("provider_id", ID, primary_key=True),
    _column("subject", KEYTEXT, primary_key=True),
    _column("user_id", ID, index=True),
    _column("created_us", INT),
    _column("last_used_us", INT),
    clustered=True,
)
# Programs for which the hive itself vouches.
oauth_clients = _table(
    "oauth_clients",
    _column("id", SHORT, primary_key=True),
    _column("name", KEYTEXT),
    _column("secret_hash", HASH, null=True),  # null: a program that cannot keep one
    _column("redirect_uris", TEXT),  # JSON
    _column("scopes", KEYTEXT),
    _column("created_us", INT),
)
# The sessions that such programs were given, and the keys that sign what is said of people to them.
client_sessions = _table(
    "client_sessions",
    _column("session_id", ID, primary_key=True),
    _column("client_id", SHORT, index=True),
    clustered=True,
)
identity_keys = _table(
    "identity_keys",
    _column("id", SHORT, primary_key=True),  # the JWK thumbprint, RFC 7638
    _column("sealed_private", BLOB),
    _column("public", TEXT),  # the JWK
    _column("created_us", INT),
    _column("retired_us", INT, null=True),
)
# What was sent to people by mail to be shown again, once; and mail that is still to be sent.
mail_tokens = _table(
    "mail_tokens",
    _column("token_hash", HASH, primary_key=True),
    _column("user_id", ID, index=True),
    _column("purpose", SHORT),  # verify | reset
    _column("address", KEYTEXT),  # that it went to: it must still be the user's
    _column("expires_us", INT, index=True),
    clustered=True,
)
outbox = _table(
    "outbox",
    _column("id", ID, primary_key=True),
    _column("sealed", BLOB),  # recipient, subject and text: a link in it is a secret
    _column("tries", INT),
    _column("due_us", INT, index=True),
    _column("created_us", INT),
)
# What is known of users beside their profile.
user_facts = _table(
    "user_facts",
    _column("user_id", ID, primary_key=True),
    _column("verified_email", KEYTEXT, null=True),  # the address that mail has reached
    _column("delete_us", INT, null=True, index=True),  # when the account is to go
    _column("external_id", KEYTEXT, null=True),  # what a SCIM client calls it
    clustered=True,
)
group_facts = _table(
    "group_facts",
    _column("group_id", ID, primary_key=True),
    _column("external_id", KEYTEXT, null=True),
    clustered=True,
)
