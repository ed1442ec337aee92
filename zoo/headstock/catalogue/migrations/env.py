"""Alembic's entry: migrate over the connection and inside the transaction that `database.migrate` opened."""

from __future__ import annotations

from alembic import context

from headstock.catalogue.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
