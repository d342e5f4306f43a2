"""The control API: its keys, its address and what it offers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from ibkr_mcp_server.settings import rules
from ibkr_mcp_server.settings.base import SettingGroup


class ControlSettings(SettingGroup):
    """How operators' programs reach the server."""

    # Control API
    kill_switch_secret: Annotated[SecretStr | None, rules.shared_secret(unset="no such key")] = Field(
        default=None,
        description="Key that stops trading over the control API; KILL_SWITCH_SECRET is read, too. Never shown.",
    )
    control_status_secret: Annotated[SecretStr | None, rules.shared_secret(unset="no such key")] = Field(
        default=None, description="Key that reads the status over the control API. Never shown."
    )
    control_reset_secret: Annotated[SecretStr | None, rules.shared_secret(unset="no such key")] = Field(
        default=None, description="Key that asks for a reset over the control API. Never shown."
    )
    control_keys_file: Annotated[Path | None, rules.absolute_path(unset="no file")] = Field(
        default=None,
        description="TOML file, mode 0600, with more keys of the control API: [[key]] with id, role (trigger, status, "
        "reset), secret and perhaps not_before, not_after.",
    )
    control_host: Annotated[str, rules.host()] = Field(
        default="127.0.0.1",
        description="Address of the control API; other than loopback only with a certificate.",
    )
    control_port: Annotated[int, rules.port(or_zero=True)] = Field(
        default=8766, description="Port of the control API; 0 takes a free one."
    )
    control_tls_certificate: Annotated[Path | None, rules.absolute_path(unset="no TLS")] = Field(
        default=None, description="PEM file with the certificate of the control API."
    )
    control_tls_key: Annotated[Path | None, rules.absolute_path(unset="no TLS")] = Field(
        default=None, description="PEM file with the certificate's private key."
    )
    enable_performance_monitoring: Annotated[bool, rules.switch()] = Field(
        default=True, description="Offers /metrics of the control API; no decision looks at it."
    )
    enable_health_checks: Annotated[bool, rules.switch()] = Field(
        default=True, description="Offers /healthz and /readyz of the control API; no decision looks at them."
    )
    http_reset_enabled: Annotated[bool, rules.switch()] = Field(
        default=False,
        description="Offers the reset path of the control API, which asks for a reset that a person must approve.",
    )
