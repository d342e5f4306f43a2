"""Who must confirm an opening order, by mode and value (LLM-07); the only step that asks somebody."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.domain.confirmation import Confirmer
from ibkr_mcp_server.domain.operations import ActorType, Operation
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, passes, refuses
from ibkr_mcp_server.safety.snapshot import Snapshot
from ibkr_mcp_server.settings.broker import BrokerMode


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """Holds an agent's opening order until whoever must confirm it has.

    What reduces, protects or cancels needs nobody's yes.
    """

    mode: BrokerMode
    agent_above_usd: Decimal
    person_above_usd: Decimal | None
    """None: no amount needs a person by itself."""

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        given = seen.recorded.confirmed
        if given.problem is not None:
            return refuses(given.problem)
        needed = self.needed(operation, seen)
        if needed is Confirmer.NOBODY:
            return PASSED
        observed, limit = given.by.word, needed.word
        if needed <= given.by:
            return passes(observed, limit)
        text = f"{self._why(seen)} It takes the yes of {_WHO[needed]}; nothing was sent."
        return refuses(problem(Code.CONFIRMATION_REQUIRED, text, observed=observed, limit=limit))

    def needed(self, operation: Operation, seen: Snapshot) -> Confirmer:
        """Whose yes it takes; a value that is not known counts as above every amount."""
        if not seen.opens or seen.order is None or operation.actor.type is not ActorType.AGENT:
            return Confirmer.NOBODY
        value, least = seen.observed.value_usd, Confirmer.NOBODY
        if self.mode is BrokerMode.PAPER and (value is None or value > self.agent_above_usd):
            least = Confirmer.AGENT
        if self.mode is BrokerMode.LIVE or (
            self.person_above_usd is not None and (value is None or value > self.person_above_usd)
        ):
            least = Confirmer.PERSON
        return least.next if seen.recorded.cautious else least

    def _why(self, seen: Snapshot) -> str:
        value = seen.observed.value_usd
        worth = "of unknown worth" if value is None else f"worth {value:,.2f} USD"
        flagged = " after text that reads like an instruction" if seen.recorded.cautious else ""
        return f"The order opens a position, is {worth}, and the mode is {self.mode}{flagged}."


_WHO = {Confirmer.AGENT: "the agent in a second step", Confirmer.PERSON: "a person"}
