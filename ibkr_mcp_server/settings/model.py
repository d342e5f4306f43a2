"""All settings together, as they apply.

What applies to a setting is said once, in its line of its group: type, rule, default and description. Mistakes,
`config show`, `.env.example` and `docs/settings.md` are all made from that line.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property

from pydantic import ConfigDict, PrivateAttr, SecretStr, model_validator

from ibkr_mcp_server.settings.agents import AgentSettings
from ibkr_mcp_server.settings.alerts import AlertSettings
from ibkr_mcp_server.settings.base import SettingGroup, variable_of
from ibkr_mcp_server.settings.broker import BrokerMode, BrokerSettings
from ibkr_mcp_server.settings.contradictions import contradictions
from ibkr_mcp_server.settings.control import ControlSettings
from ibkr_mcp_server.settings.gates import GateSettings
from ibkr_mcp_server.settings.orders import OrderSettings
from ibkr_mcp_server.settings.people import PeopleSettings
from ibkr_mcp_server.settings.portfolio import PortfolioSettings
from ibkr_mcp_server.settings.risk import RiskSettings
from ibkr_mcp_server.settings.rules import Rule
from ibkr_mcp_server.settings.simulator import SimulatorSettings
from ibkr_mcp_server.settings.storage import StorageSettings


class Origin(StrEnum):
    """Where a value came from, weakest first."""

    BUILT_IN = "built-in"
    FILE = "file"
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting as `config show` tells it."""

    name: str
    variable: str
    value: str | None
    """As an environment variable would carry it, redacted; None when it is not set."""
    origin: Origin
    description: str


class Settings(
    BrokerSettings,
    GateSettings,
    OrderSettings,
    PortfolioSettings,
    PeopleSettings,
    StorageSettings,
    AgentSettings,
    ControlSettings,
    SimulatorSettings,
    AlertSettings,
    RiskSettings,
):
    """The configuration; made by `load_settings`. The groups stand in the order of the documentation."""

    model_config = ConfigDict(defer_build=False)

    _origins: dict[str, Origin] = PrivateAttr(default_factory=dict)

    @property
    def opens_on_weekends(self) -> bool:
        """Whether orders may open on a weekend: the built-in market that never closes has none."""
        never_closes = self.broker_mode is BrokerMode.SIMULATOR and self.simulator_market_always_open
        return self.allow_weekend_trading or never_closes

    @property
    def previews_margin(self) -> bool:
        """PL-13: the built-in gateway's margin is a plain model, so that it is asked only on demand."""
        return self.broker_mode is not BrokerMode.SIMULATOR if self.margin_preview is None else self.margin_preview

    @property
    def instruments_to_open(self) -> tuple[str, ...]:
        """C-09: in live mode nothing may be opened until it is listed."""
        if self.allowed_symbols is not None:
            return self.allowed_symbols
        return () if self.broker_mode is BrokerMode.LIVE else ("*",)

    def secrets(self) -> list[str]:
        """The secrets themselves, for those who must keep them out of what they write."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]

    @cached_property
    def effective(self) -> tuple[Setting, ...]:
        """Every setting as it applies, in the order of the documentation."""
        applied = {"port": self.gateway_port, "state_dir": self.state_directory}
        return tuple(
            Setting(
                name=name,
                variable=variable_of(name),
                value=rule_of(name).redacted(applied.get(name, getattr(self, name))),
                origin=self._origins.get(name, Origin.BUILT_IN),
                description=description_of(name),
            )
            for name in setting_names()
        )

    @cached_property
    def effective_redacted(self) -> dict[str, str | None]:
        """Variable to value, as the audit log records it at each start (CFG-16)."""
        return {setting.variable: setting.value for setting in self.effective}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what applies, in hexadecimal.

        It is taken from the redacted values, so that it betrays nothing: another password or token does not change it.
        """
        canonical = json.dumps(self.effective_redacted, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode("utf-8")).hexdigest()

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        problems = list(contradictions(self, wrong=frozenset()))
        if problems:
            raise ValueError("\n".join(problems))
        return self


@cache
def setting_names() -> tuple[str, ...]:
    """All settings in the order of the documentation; pydantic has those of the last group first."""
    groups = (group for group in Settings.__bases__ if issubclass(group, SettingGroup))
    return tuple(name for group in groups for name in group.model_fields)


@cache
def rule_of(name: str) -> Rule:
    """What a setting allows."""
    return next(item for item in Settings.model_fields[name].metadata if isinstance(item, Rule))


@cache
def description_of(name: str) -> str:
    return Settings.model_fields[name].description or ""
