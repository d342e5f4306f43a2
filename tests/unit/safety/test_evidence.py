"""What records keep of a decision's inputs, and what they may leave out."""

from __future__ import annotations

import ast
import inspect
import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibkr_mcp_server.domain.accounts import MarginPreview, has_accepted_prefix, masked
from ibkr_mcp_server.domain.instruments import TradingSession
from ibkr_mcp_server.safety import checks, efficiency
from ibkr_mcp_server.safety.evidence import LEFT_OUT, Contracts, evidence_of, hidden, shown
from ibkr_mcp_server.safety.exposure import Exposure
from ibkr_mcp_server.safety.limits_in_force import LimitsInForce
from ibkr_mcp_server.safety.plausible import jumped
from ibkr_mcp_server.safety.portfolio import Portfolio
from ibkr_mcp_server.safety.replay import rebuilt, settings_of
from ibkr_mcp_server.safety.state import Cause, EffectiveState
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.settings.model import rule_of, setting_names
from ibkr_mcp_server.settings.rules import Privacy
from ibkr_mcp_server.store.intents import DayOfMessages, Opening
from tests.unit.safety import builders

ELSEWHERE = {"order", "exits", "instrument", "tool", "operation_class", "actor", "draft"}
"""Stand in another part of the record."""


def test_no_check_reads_what_records_leave_out() -> None:
    """AUD-09: a check that begins to read such a field must have it recorded first."""
    sources = [path.read_text() for path in Path(checks.__file__).parent.glob("*.py")]
    sources += [inspect.getsource(efficiency), inspect.getsource(jumped)]
    read = {node.attr for text in sources for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)}
    kept = {field.name for kind, names in LEFT_OUT.items() for field in fields(kind) if field.name not in names}
    left_out = {name for names in LEFT_OUT.values() for name in names}
    assert "value_usd" in read & kept
    assert read & (left_out - kept - ELSEWHERE) == set()


@pytest.mark.parametrize("account", ["DU9000001", "U1234567", "DFA123456", "DUH12345", "DUMMY", "du1234567", "F1", ""])
def test_a_hidden_account_keeps_its_shape_and_nothing_more(account: str) -> None:
    """SEC-05: what the account check looks at can be told from it; the number cannot."""
    for prefixes in (("DU",), ("DU", "DF"), ("D",)):
        assert has_accepted_prefix(shown(hidden(account)), prefixes) is has_accepted_prefix(account, prefixes)
    assert masked(shown(hidden(account))) == masked(account)
    assert hidden("DU9000001") == "DU****001"
    assert hidden("DFA123456") == "DF#***456"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {
            "IBKR_MAX_ORDER_VALUE_USD": "10000.00",
            "IBKR_MAX_POSITION_SIZE_PCT": "2.50",
            "IBKR_ALLOWED_SYMBOLS": "265598",
            "IBKR_HTTP_TOKEN": "h" * 40,
        },
    ],
)
def test_the_settings_of_a_run_are_read_back_digit_by_digit_from_what_its_start_recorded(
    environ: dict[str, str],
) -> None:
    applied = load_settings(environ=environ)
    again = settings_of(applied.effective_redacted)
    not_there = {"live_accounts", "simulator_accounts", "port", "state_dir"}
    for name in set(setting_names()) - not_there:
        if rule_of(name).privacy is Privacy.OPEN:
            assert repr(getattr(again, name)) == repr(getattr(applied, name)), name


def test_a_contract_is_written_once_and_again_when_it_changed() -> None:
    order = builders.order(quantity=Decimal(1))
    contracts, same = Contracts(), builders.order(quantity=Decimal(2)).instrument
    first = contracts.of(order.instrument)
    assert contracts.of(same).hash == first.hash
    assert not contracts.is_recorded(first, with_a_write=False)
    contracts.recorded(order, with_a_write=False)
    assert contracts.is_recorded(first, with_a_write=False)
    assert not contracts.is_recorded(first, with_a_write=True)  # the record of a read may come after it
    contracts.recorded(order, with_a_write=True)
    assert contracts.is_recorded(first, with_a_write=True)


def test_what_stands_at_its_default_is_left_out() -> None:
    seen = builders.snapshot(builders.order(quantity=Decimal(1)))
    text = evidence_of(seen.recorded)
    assert text == '{"state":{}}'


MOMENTS = st.integers(0, 10**15).map(lambda after: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(microseconds=after))
FINITE = st.decimals(allow_nan=False, allow_infinity=False)
WORDS = st.text("abcXYZ é-_/", max_size=12)
PARTS: dict[type, st.SearchStrategy[object]] = {
    Portfolio: st.builds(Portfolio, unknown=st.lists(WORDS, max_size=3).map(tuple), sector=WORDS),
    Exposure: st.builds(Exposure),
    MarginPreview: st.builds(MarginPreview),
    DayOfMessages: st.builds(DayOfMessages),
    EffectiveState: st.builds(
        EffectiveState,
        causes=st.lists(st.builds(Cause, code=WORDS, reason=WORDS), max_size=3).map(tuple),
    ),
    LimitsInForce: st.builds(LimitsInForce, raised=st.lists(st.tuples(WORDS, st.decimals()), max_size=3).map(tuple)),
    Opening: st.builds(
        Opening,
        side=WORDS,
        request_key=st.uuids().map(str),  # one intent has one, and its digits never change
        order_ref=WORDS,
        agent=WORDS,
        **dict.fromkeys(("quantity", "value_usd"), FINITE),
        **dict.fromkeys(("limit_price", "stop_price"), st.none() | FINITE),
    ),
    TradingSession: st.builds(TradingSession, start=MOMENTS, end=MOMENTS),
}


@pytest.mark.parametrize("kind", PARTS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_what_is_kept_comes_back_as_it_was(kind: type, data: st.DataObject) -> None:
    """Digit by digit, whatever is no number included: 1.0 is another text than 1, and a check may tell it."""
    value = data.draw(PARTS[kind])
    assert repr(rebuilt(kind, json.loads(evidence_of(value)))) == repr(value)  # type: ignore[arg-type]
