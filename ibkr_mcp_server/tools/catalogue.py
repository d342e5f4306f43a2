"""All tools. What is not in this list does not exist."""

from __future__ import annotations

import json

from ibkr_mcp_server.tools import (
    account,
    audit_log,
    brackets,
    confirmation,
    contracts,
    documentation,
    exits,
    forex,
    history,
    market_data,
    options,
    order_tracking,
    orders,
    pnl,
    research,
    safety,
    stop_loss,
    switch_account,
)
from ibkr_mcp_server.tools.registry import Call, Registry, Tool

TOOLS: Registry = Registry(
    account.TOOLS,
    pnl.TOOLS,
    switch_account.TOOLS,
    market_data.TOOLS,
    contracts.TOOLS,
    history.TOOLS,
    forex.TOOLS,
    options.TOOLS,
    research.TOOLS,
    orders.TOOLS,
    brackets.TOOLS,
    stop_loss.TOOLS,
    exits.TOOLS,
    order_tracking.TOOLS,
    confirmation.tools(lambda call, name: _shown(call, name)),
    safety.TOOLS,
    audit_log.TOOLS,
    documentation.tools(lambda call: TOOLS.shown(call.desk.settings.tool_choice)),
)


def _shown(call: Call, name: str) -> Tool | None:
    """The tool of that name, if the server shows it."""
    tool, choice = TOOLS.get(name), call.desk.settings.tool_choice
    return tool if tool is not None and choice.shows(tool.toolset, tool.operation_class) else None


def schemas_page() -> str:
    """`tools/schemas.json`: what tools/list answers, ready made, so that starting imports none of the families."""
    return json.dumps([tool.listing() for tool in TOOLS], indent=1, ensure_ascii=False) + "\n"
