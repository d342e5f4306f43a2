"""Run by Alembic: migrate on the connection that `upgrade.to_head` was given."""

from alembic import context

from ibkr_mcp_server.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
