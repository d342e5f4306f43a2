"""All that a check may look at, gathered once per decision.

`Observed` comes from the broker and is gathered before the decision; `Recorded` comes from the store and is read
inside the decision's own transaction, so that two decisions never see the same headroom.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from ibkr_mcp_server.broker.base import LinkStatus
from ibkr_mcp_server.domain.accounts import AccountSummary, MarginPreview
from ibkr_mcp_server.domain.confirmation import Confirmer
from ibkr_mcp_server.domain.operations import Problem
from ibkr_mcp_server.domain.orders import BrokerOrder, Exits, Order
from ibkr_mcp_server.domain.quotes import Quote
from ibkr_mcp_server.safety.exposure import Exposure
from ibkr_mcp_server.safety.limits_in_force import AS_CONFIGURED, LimitsInForce
from ibkr_mcp_server.safety.portfolio import Portfolio
from ibkr_mcp_server.safety.state import Action, EffectiveState
from ibkr_mcp_server.store.agent_positions import AgentPosition
from ibkr_mcp_server.store.intents import DayOfMessages, Intent, Opening
from ibkr_mcp_server.store.tickets import Ticket


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The world outside, as seen for one operation; None is unknown."""

    taken_at: datetime
    link: LinkStatus | None = None
    order: Order | None = None
    """The canonical order that would be sent; None for operations without one, or when it could not be made."""
    exits: Exits | None = None
    """Of a bracket, the orders that end what `order` begins."""
    current: BrokerOrder | None = None
    """The working order that is to be changed or cancelled."""
    quote: Quote | None = None
    usd_per_unit: Decimal | None = None
    """US dollars for one unit of the instrument's currency, at the worse side."""
    usd_source: str | None = None
    exposure: Exposure | None = None
    action: Action = Action.READ
    weakens_protection: bool = False
    """The change takes protection from a position; it needs what cancelling a protective order needs, too."""
    reference_price: Decimal | None = None
    value_usd: Decimal | None = None
    """Worst-case value of the order."""
    working: tuple[BrokerOrder, ...] = ()
    """Working orders of the account, those of other clients included, without the one that is to be changed."""
    earlier_price: Decimal | None = None
    """The last reference price of the instrument that was found plausible, if it was seen lately."""
    balances: AccountSummary | None = None
    """Of the order's account, as the broker told them last."""
    portfolio: Portfolio | None = None
    """What an opening order would make of the account, everything counted that may fill besides it."""
    margin: MarginPreview | None = None
    """The broker's word about the margin after an order that may open; None where it was not asked, or did not say."""
    account_problems: tuple[Problem, ...] = ()
    timeout_seconds: float = 0.0
    """How much longer the agent that asks is in timeout; then nothing else was looked at."""
    problems: tuple[Problem, ...] = ()
    """What was wrong with the request itself: arguments, symbol, contract."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """Whose yes an operation has."""

    by: Confirmer = Confirmer.NOBODY
    ticket: Ticket | None = None
    problem: Problem | None = None
    """What is wrong with the ticket that it names."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What the store says, inside the decision's transaction."""

    state: EffectiveState
    not_the_writer: str | None = None
    """Why this process may not write; None if it may."""
    opening_ages_seconds: tuple[float, ...] = ()
    """Ages of the opening intents of the last minute."""
    opening_today: int = 0
    messages: DayOfMessages = field(default=DayOfMessages())
    """Of this trading day."""
    openings: tuple[Opening, ...] = ()
    """Opening orders that count in this trading day or in the last hour, youngest first."""
    agent_positions: tuple[AgentPosition, ...] = ()
    """What each agent's orders brought about, in all accounts."""
    unresolved: tuple[Intent, ...] = ()
    """Intents whose outcome is not proven."""
    limits: LimitsInForce = AS_CONFIGURED
    """The limits of this moment."""
    confirmed: Given = Given()
    cautious: bool = False
    """Something that reads like an instruction was returned to the agent since its last order (LLM-03)."""
    same_key: Intent | None = None
    fingerprint: str = ""
    market_data_ages_seconds: tuple[float, ...] = field(default=())
    """Ages of the quotes asked for in the last minute, one for each symbol."""
    account_read_ages_seconds: tuple[float, ...] = ()
    """Ages of the reads of account and orders in the last minute."""
    modification_ages_seconds: tuple[float, ...] = ()
    """Ages of the changes of working orders in the last minute."""
    switch_generation: int = 0
    """Of the kill switches that bear on the operation: it changes with every use of one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """Both halves, and what most checks ask of them."""

    observed: Observed
    recorded: Recorded

    now: datetime = field(init=False, repr=False, compare=False)
    order: Order | None = field(init=False, repr=False, compare=False)
    placed: tuple[tuple[str, Order], ...] = field(init=False, repr=False, compare=False)
    """Every order that would be sent, with what to call it beside others; empty when there is none."""
    opens: bool = field(init=False, repr=False, compare=False)
    """Whether the operation can increase a position; only such operations use quotas."""
    projected: Portfolio | None = field(init=False, repr=False, compare=False)
    """The portfolio that an opening order would make; what opens nothing is not held to the portfolio's limits."""

    def __post_init__(self) -> None:
        keep, observed = object.__setattr__, self.observed  # frozen for everybody else
        opens = observed.action is Action.OPEN
        keep(self, "now", observed.taken_at)
        keep(self, "order", observed.order)
        keep(self, "placed", _placed(observed.order, observed.exits))
        keep(self, "opens", opens)
        keep(self, "projected", observed.portfolio if opens else None)


def _placed(order: Order | None, exits: Exits | None) -> tuple[tuple[str, Order], ...]:
    if order is None:
        return ()
    if exits is None:
        return (("", order),)
    return (("", order), ("take-profit: ", exits.take_profit), ("stop-loss: ", exits.stop_loss))
