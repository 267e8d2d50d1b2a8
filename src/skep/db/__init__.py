"""The relational schema, the engine and the unit of work.

    migrate(url)
    database = await Database.open(url, clock=SystemClock())
    await database.write(lambda tx: tx.run(insert_new(users), {...}))

Made so that ``import skep.db`` and the server's start stay quick: drivers are imported when a URL
asks for them, Alembic when there is something to migrate.
"""

from __future__ import annotations

from skep.db import schema_blocks as schema_blocks
from skep.db import schema_credit as schema_credit
from skep.db import schema_signin as schema_signin  # its tables are of the one schema, whoever asks for it
from skep.db.database import Database
from skep.db.errors import RowExists
from skep.db.migrate import current_revision, migrate
from skep.db.statement import Statement, insert_new, prepared, upsert
from skep.db.transaction import Transaction

__all__ = [
    "Database",
    "RowExists",
    "Statement",
    "Transaction",
    "current_revision",
    "insert_new",
    "migrate",
    "prepared",
    "upsert",
]
