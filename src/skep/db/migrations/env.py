"""Alembic's entry: run migrations on the connection that ``skep.db.migrate`` gives."""

from __future__ import annotations

from alembic import context

from skep.db.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=context.config.attributes["connection"].dialect.name != "mysql",
    transaction_per_migration=False,
    render_as_batch=True,
)
context.run_migrations()
