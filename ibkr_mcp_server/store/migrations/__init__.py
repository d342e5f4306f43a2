"""Alembic migrations, forward only; loaded only when a database is not at `schema.HEAD`."""
