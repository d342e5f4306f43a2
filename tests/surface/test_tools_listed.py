"""What tools/list shows, and what every tool must have."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.broker.base import BrokerReads, BrokerWrites
from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.tools.account import ConnectionFacts, get_connection_status
from ibkr_mcp_server.tools.arguments import NoArguments
from ibkr_mcp_server.tools.catalogue import TOOLS, schemas_page
from ibkr_mcp_server.tools.registry import HINTS, Registry, Tool, Toolset
from ibkr_mcp_server.tools.results import LISTED, Envelope
from ibkr_mcp_server.tools.server import SCHEMAS, listing
from tests.tool_examples import LISTINGS

NAMES = {
    *("get_connection_status", "get_accounts", "get_account_summary", "get_portfolio", "get_pnl"),
    *("switch_account", "get_forex_rates", "convert_currency", "get_tool_documentation"),
    *("get_market_data", "resolve_symbol", "get_contract_details", "get_historical_bars"),
    *("get_option_chain", "get_option_quotes"),
    *("run_scanner", "get_scanner_parameters", "get_news", "get_news_article"),
    *("check_order", "place_market_order", "place_limit_order", "modify_order", "cancel_order"),
    *("place_stop_loss", "get_stop_losses", "modify_stop_loss", "cancel_stop_loss", "close_position"),
    *("prepare_order", "commit_order"),
    *("place_bracket_order", "cancel_all_orders", "wait_for_order"),
    *("get_order_status", "get_open_orders", "get_completed_orders", "get_executions"),
    *("get_safety_status", "emergency_stop", "get_audit_log"),
}

each_tool = pytest.mark.parametrize("tool", list(TOOLS), ids=lambda tool: tool.name)


def test_the_tools_are_exactly_those_of_the_product() -> None:
    assert {tool.name for tool in TOOLS} == NAMES


def test_the_readme_lists_every_tool_once_and_no_other() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    table = readme.partition("## What an agent can do")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "`" in line]
    assert sorted(re.findall(r"`(\w+)`", "".join(rows))) == sorted(NAMES)


def test_no_tool_can_loosen_anything() -> None:
    """KS-10, T-36: agents can only make it stricter."""
    assert [
        name for name in NAMES if re.search(r"reset|resume|approve|confirm|config|enable|set_|raise|disable", name)
    ] == []
    arguments = {name for tool in TOOLS for name in tool.arguments.model_fields}
    assert arguments.isdisjoint({"confirm", "confirmed", "override", "force", "dry_run", "limit", "live", "paper"})


def test_no_argument_chooses_a_broker_or_how_to_reach_it() -> None:
    """CFG-08, FD-22: where orders go is the operator's affair."""
    arguments = {name for tool in TOOLS for name in (*tool.arguments.model_fields, *tool.arguments.also_called)}
    words = {word for name in arguments for word in name.split("_")}
    assert words.isdisjoint({"host", "port", "url", "address", "endpoint", "readonly", "mode", "venue"})
    assert arguments.isdisjoint({"client_id", "broker", "gateway", "paper", "live", "simulator"})


def test_no_tool_takes_a_secret() -> None:
    """SEC-01, KS-16: an agent has none to give, and what it sends is recorded."""
    arguments = {name for tool in TOOLS for name in (*tool.arguments.model_fields, *tool.arguments.also_called)}
    words = {word for name in arguments for word in name.split("_")}
    assert words.isdisjoint({"secret", "token", "passphrase", "password", "signature", "credential", "totp", "otp"})


def test_nothing_moves_money_out() -> None:
    """LED-08: no tool, no argument and no act of the broker's adapter has to do with it."""
    acts = {name for name in (*dir(BrokerReads), *dir(BrokerWrites)) if not name.startswith("_")}
    arguments = {name for tool in TOOLS for name in (*tool.arguments.model_fields, *tool.arguments.also_called)}
    assert {"place_order", "cancel_order"} <= acts
    words = {word for name in acts | NAMES | arguments for word in name.split("_")}
    assert words.isdisjoint(
        {"withdraw", "withdrawal", "transfer", "deposit", "pay", "payment", "payout", "send", "wire"}
    )


def test_page_of_schemas_is_current() -> None:
    """The server lists this page, and a change of code that changes a schema changes it, where a reviewer sees it.

    `make docs` writes it.
    """
    assert SCHEMAS.read_text(encoding="utf-8") == schemas_page()


@each_tool
def test_listing_names_class_toolset_and_honest_hints(tool: Tool) -> None:
    """TW-08, LLM-05."""
    entry = next(entry for entry in listing() if entry["name"] == tool.name)
    assert entry["_meta"] == {"ibkr/class": tool.operation_class, "ibkr/toolset": tool.toolset}
    hints = entry["annotations"]
    sends_or_stops = tool.writes or tool.operation_class is OperationClass.SAFETY_STOP
    changes_here = tool.operation_class is OperationClass.ACCOUNT_MANAGEMENT or tool.prepares
    assert hints["readOnlyHint"] is not (sends_or_stops or changes_here)
    assert hints.get("destructiveHint", False) is sends_or_stops
    assert entry["title"]
    assert len(entry["description"]) <= 450


@each_tool
def test_every_argument_is_described_and_no_other_is_taken(tool: Tool) -> None:
    schema = LISTINGS[tool.name]["inputSchema"]
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert all(entry.get("description") for entry in schema["properties"].values())


@each_tool
def test_facts_never_hide_the_envelope_and_a_refusal_fits_the_schema(tool: Tool) -> None:
    """Clients that validate error results would otherwise throw instead of showing them."""
    schema = LISTINGS[tool.name]["outputSchema"]
    assert set(schema["required"]) == {"success", "venue", "at"}
    assert set(tool.facts.model_fields).isdisjoint(Envelope.model_fields)
    assert set(LISTED) <= set(schema["properties"])
    assert set(LISTED) <= set(Envelope.model_fields)
    assert "additionalProperties" not in schema, "a refusal has fields that are not listed"


def test_every_operation_class_has_hints() -> None:
    assert set(HINTS) == set(OperationClass)


def test_a_tool_without_a_class_cannot_exist() -> None:
    """TW-01."""
    parts: dict[str, Any] = {
        "name": "x",
        "title": "X",
        "description": "X.",
        "toolset": Toolset.ACCOUNT,
        "arguments": NoArguments,
        "facts": ConnectionFacts,
        "handler": get_connection_status,
    }
    with pytest.raises(TypeError):
        Tool(**parts)
    with pytest.raises(TypeError, match="operation class"):
        Tool(**parts, operation_class="account_read")  # type: ignore[arg-type]  # what is refused here
    fine = Tool(**parts, operation_class=OperationClass.ACCOUNT_READ)
    with pytest.raises(ValueError, match="two tools are called 'x'"):
        Registry([fine], [fine])


def test_handlers_never_touch_the_broker() -> None:
    """Write access is an argument that only the wrapper can supply after an approval."""
    folder = Path(SCHEMAS).parent
    assert [file.name for file in folder.glob("*.py") if re.search(r"\.broker\b(?!\.base)", file.read_text())] == []


def test_nothing_heavy_is_imported_on_the_way_to_the_first_answer() -> None:
    """Architecture, decision 12: a host starts this program for every conversation, and waits for tools/list."""
    program = (
        "import sys, ibkr_mcp_server.tools.server as server, ibkr_mcp_server.tools.stdio; server.listing();"
        "import ibkr_mcp_server.cli.serve;"
        "print([name for name in ('sqlalchemy', 'alembic', 'ib_async', 'numpy', 'structlog', 'typer', 'rich',"
        "'platformdirs', 'ibkr_mcp_server.app', 'ibkr_mcp_server.tools.orders') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert told.stdout.strip() == "[]"
