"""Where the server keeps what it writes, and what it reads at the start."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from ibkr_mcp_server.settings import rules
from ibkr_mcp_server.settings.base import SettingGroup
from ibkr_mcp_server.state_dir import StateDirectory


class LogLevel(StrEnum):
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class StorageSettings(SettingGroup):
    """The state directory, the store, the configuration file and the logs."""

    # Store
    state_dir: Annotated[Path | None, rules.absolute_path(unset="the user's state directory of this platform")] = Field(
        default=None,
        description="Private directory (mode 0700) for the database, the stop file and logs; never a temporary one.",
    )
    database_url: Annotated[SecretStr | None, rules.postgresql_url(unset="SQLite in the state directory")] = Field(
        default=None, description="One PostgreSQL database for several machines that share an account. Never shown."
    )

    # Files
    config_file: Annotated[Path | None, rules.absolute_path(unset="no file")] = Field(
        default=None,
        description="TOML or YAML file with thresholds and the channels of alerts, by the names of these settings in "
        "small letters and without the prefix; secrets in it only as ${NAME}. Everything else here wins over it.",
    )

    # Logs
    log_level: Annotated[LogLevel, rules.one_of(LogLevel)] = Field(
        default=LogLevel.INFO, description="Least severity that is logged."
    )
    log_file: Annotated[Path | None, rules.absolute_path(within=" under the state directory", unset="stderr only")] = (
        Field(default=None, description="File that the log goes to as well.")
    )
    audit_log_file: Annotated[
        Path | None, rules.absolute_path(within=" under the state directory", unset="named on the command line")
    ] = Field(default=None, description="Where `audit export` writes unless told otherwise.")
    audit_checkpoint_file: Annotated[Path | None, rules.absolute_path(unset="in the state directory")] = Field(
        default=None,
        description="Second place for signed checkpoints of the audit log; better on another disk or machine.",
    )
    audit_key_file: Annotated[
        Path | None, rules.absolute_path(unset="made at the first start, in the state directory")
    ] = Field(default=None, description="File with the key that signs the checkpoints, as 64 hexadecimal digits.")

    @property
    def state_directory(self) -> Path:
        """Where the state directory is or will be; `open_state_directory` checks it."""
        if self.state_dir is not None:
            return self.state_dir
        from platformdirs import user_state_path  # only needed, and only loaded, without a setting

        return user_state_path("ibkr-mcp-server", appauthor=False)

    def store_location(self, state: StateDirectory) -> str:
        """Where the store is: a PostgreSQL URL, secrets included, or the database file of `state`."""
        return str(state.database) if self.database_url is None else self.database_url.get_secret_value()

    def checkpoint_places(self, state: StateDirectory) -> tuple[Path, Path]:
        """The file of the audit log's checkpoints, and that of their key."""
        return self.audit_checkpoint_file or state.audit_checkpoints, self.audit_key_file or state.audit_key
