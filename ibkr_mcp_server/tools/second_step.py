"""The second step of an order as a question at the client (LLM-07): a convenience for the agent's own yes.

Whatever answers there counts as the agent, for a client may answer by itself; a person's word never comes this way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from ibkr_mcp_server.domain.confirmation import Confirmer
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.decision import Decision, OperationRefused
from ibkr_mcp_server.tools.confirmation import CommitArguments, PrepareArguments, PreparedFacts
from ibkr_mcp_server.tools.registry import Call, Reply, Tool

Ask = Callable[[str], Awaitable[bool]]
"""Shows a text and returns whether the answer was yes."""


def lacks_second_step(decision: Decision) -> bool:
    """Whether nothing but the agent's second step is missing."""
    found = [told for _, told in decision.problems]
    codes = [told.code for told in found]
    return codes == [Code.CONFIRMATION_REQUIRED] and found[0].limit == Confirmer.AGENT.word


async def second_step(
    tool: Tool, given: Mapping[str, object], calls: tuple[Call, Call], steps: tuple[Tool, Tool], ask: Ask
) -> Reply | None:
    """Prepare the order, ask, and commit it on a yes; None when the answer is no, late, or would not do."""
    prepare, commit = steps
    seconds = float(calls[0].desk.settings.confirmation_seconds)
    try:
        prepared = (await prepare.handler(calls[0], PrepareArguments(tool=tool.name, arguments=dict(given)))).facts
    except OperationRefused:
        return None
    if not isinstance(prepared, PreparedFacts) or prepared.confirm_by != Confirmer.AGENT.word:
        return None
    try:
        async with asyncio.timeout(seconds):
            if not await ask(_text(prepared)):
                return None
    except TimeoutError:
        return None
    return await commit.handler(calls[1], CommitArguments(ticket=prepared.ticket))


def _text(prepared: PreparedFacts) -> str:
    lines = [", ".join(f"{name} {value}" for name, value in terms.items()) for terms in prepared.terms]
    worth = prepared.worst_case_value_usd
    value = "of unknown worth" if worth is None else f"worth at most {worth} USD"
    return "\n".join(["Send this order?", *lines, f"It is {value}."])
