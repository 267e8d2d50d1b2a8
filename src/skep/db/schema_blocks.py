"""The tables of the block API: part of the one schema, and of its conventions.

What always holds: a prefix belongs to one space for ever; an account elsewhere is one user here, and a user has
one number for ever.
"""

from __future__ import annotations

from skep.db.tables import ID, INT, KEYTEXT, column, table

prefixes = table(
    "prefixes",
    column("name", KEYTEXT, primary_key=True),
    column("space_id", ID, index=True),
    column("created_us", INT),
    clustered=True,
)
outside_users = table(
    "outside_users",
    column("external_id", KEYTEXT, primary_key=True),  # as the accounting server says it
    column("user_id", ID, index=True),
    column("created_us", INT),
    clustered=True,
)
user_numbers = table(
    "user_numbers",
    column("user_id", ID, primary_key=True),
    column("number", INT, unique=True),  # as other block servers know the user
    clustered=True,
)
