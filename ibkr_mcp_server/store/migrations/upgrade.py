"""Brings a database to the newest schema, inside the caller's transaction."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def configuration() -> Config:
    """Alembic's configuration for the migrations of this package."""
    config = Config()
    config.set_main_option("script_location", "ibkr_mcp_server.store:migrations")
    return config


def to_head(connection: Connection) -> None:
    """Apply every migration that the database of `connection` lacks."""
    config = configuration()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
