"""The parts that operations work with, as one value handed from the composition root."""

from __future__ import annotations

from dataclasses import dataclass, field

from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.broker.base import Broker
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.orders import BrokerOrder
from ibkr_mcp_server.domain.portfolio_risk import RiskFigures
from ibkr_mcp_server.operations.notices import Notices
from ibkr_mcp_server.operations.precedence import Precedence
from ibkr_mcp_server.safety.default_account import DefaultAccount
from ibkr_mcp_server.safety.manager import TradingSafetyManager
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.store.database import Database


@dataclass(kw_only=True)
class RiskBoard:
    """What was reckoned last of the portfolio's risk; None before it ever was."""

    figures: RiskFigures | None = None


@dataclass(frozen=True, kw_only=True)
class StagedOrder:
    """An order of a bracket that lies untransmitted at the broker, or may."""

    order: BrokerOrder
    bracket: tuple[str, ...] = ()
    """When nobody knows whether it was transmitted: references of its bracket. It was, if the broker shows one."""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Everything between the doors and the broker; made once by `app.py`."""

    settings: Settings
    clock: Clock
    broker: Broker
    safety: TradingSafetyManager
    database: Database
    audit: AuditLog
    default_account: DefaultAccount
    session_id: str
    notices: Notices = field(default_factory=Notices)
    staged: list[StagedOrder] = field(default_factory=list)
    """What the link died on before it could be taken back."""
    risk: RiskBoard = field(default_factory=RiskBoard)
    precedence: Precedence = field(default_factory=Precedence)
