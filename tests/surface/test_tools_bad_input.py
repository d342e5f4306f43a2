"""Bad input: refused in one shape with all reasons, recorded, nothing on the wire, and the next call works."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.tools.arguments import LARGEST_NUMBER, number
from ibkr_mcp_server.tools.catalogue import TOOLS
from ibkr_mcp_server.tools.order_arguments import LimitOrderArguments
from ibkr_mcp_server.tools.parsing import forgiving, parse
from ibkr_mcp_server.tools.safety import StopArguments
from ibkr_mcp_server.tools.text import abridged, cleaned, shown
from tests.harness import running

GOOD = {"symbol": "AAPL", "action": "BUY", "quantity": 1, "limit_price": 100.5}

BAD: list[tuple[dict[str, Any], list[str]]] = [
    ({"quantity": 0}, ["INVALID_QUANTITY"]),
    ({"quantity": -1}, ["INVALID_QUANTITY"]),
    ({"quantity": True}, ["INVALID_QUANTITY"]),
    ({"quantity": "10"}, ["INVALID_QUANTITY"]),
    ({"quantity": math.nan}, ["INVALID_QUANTITY"]),
    ({"quantity": math.inf}, ["INVALID_QUANTITY"]),
    ({"quantity": 10**400}, ["INVALID_QUANTITY"]),
    ({"quantity": 1e-300}, ["INVALID_QUANTITY"]),
    ({"quantity": [1]}, ["INVALID_QUANTITY"]),
    ({"limit_price": -0.01}, ["INVALID_PRICE"]),
    ({"limit_price": "nan"}, ["INVALID_PRICE"]),
    ({"limit_price": 2e12}, ["INVALID_PRICE"]),
    ({"limit_price": None}, ["PRICE_MISSING"]),
    ({"action": "buy"}, ["INVALID_SIDE"]),
    ({"action": "SHORT"}, ["INVALID_SIDE"]),
    ({"action": 1}, ["INVALID_SIDE"]),
    ({"symbol": "aapl"}, ["INVALID_SYMBOL"]),
    ({"symbol": "AA\x00PL"}, ["INVALID_SYMBOL"]),
    ({"symbol": "AAPL\n"}, ["INVALID_SYMBOL"]),
    ({"symbol": "A" * 100_000}, ["INVALID_SYMBOL"]),
    ({"symbol": ""}, ["INVALID_SYMBOL"]),
    ({"tif": "day"}, ["INVALID_ARGUMENTS"]),
    ({"account": "DU1\r\n"}, ["INVALID_ARGUMENTS"]),
    ({"client_request_id": "short"}, ["INVALID_ARGUMENTS"]),
    ({"client_request_id": "control\x07character"}, ["INVALID_ARGUMENTS"]),
    ({"con_id": 1.0}, ["INVALID_ARGUMENTS"]),
    ({"outside_rth": "true"}, ["INVALID_ARGUMENTS"]),
    ({"dry_run": True}, ["UNKNOWN_ARGUMENT"]),
    ({"price": 99.5}, ["INVALID_ARGUMENTS"]),
    ({"quantity": "1", "action": "x", "symbol": "?"}, ["INVALID_SYMBOL", "INVALID_SIDE", "INVALID_QUANTITY"]),
]


@pytest.mark.parametrize(("change", "codes"), BAD, ids=lambda value: str(value)[:40])
def test_each_fault_has_its_code_and_all_are_told_together(change: dict[str, Any], codes: list[str]) -> None:
    """ORD-01, ORD-03, ORD-05, ORD-22, TW-10."""
    arguments, problems = parse(LimitOrderArguments, GOOD | change)
    assert arguments is None
    assert sorted(found.code for found in problems) == sorted(codes)
    assert all(found.next_step and len(found.message) < 700 for found in problems)


def test_unknown_argument_is_told_with_the_nearest_name() -> None:
    _, problems = parse(LimitOrderArguments, GOOD | {"quantty": 1})
    assert "Did you mean quantity?" in problems[0].message
    _, problems = parse(LimitOrderArguments, GOOD | {"prise": 1})
    assert "Did you mean limit_price?" in problems[0].message


def test_other_names_nulls_and_ways_to_write_a_number_ask_for_the_same() -> None:
    """ID-03: equal requests have equal canonical arguments."""
    plain, _ = parse(LimitOrderArguments, GOOD)
    other, _ = parse(
        LimitOrderArguments,
        {"symbol": "AAPL", "side": "BUY", "quantity": 1.0, "price": 100.50, "time_in_force": "DAY", "account": None},
    )
    assert plain is not None
    assert other is not None
    assert {key: str(value) for key, value in plain.canonical().items()} == {
        key: str(value) for key, value in other.canonical().items()
    }


@given(st.floats(min_value=1e-9, max_value=1e9))
def test_a_number_is_read_through_its_shortest_text(value: float) -> None:
    try:
        exact = number(value)
    except ValueError:
        assert -Decimal(repr(value)).as_tuple().exponent > 12  # type: ignore[operator]  # finite, so it is a number
        return
    assert float(exact) == value
    assert exact == Decimal(repr(value))


@given(st.one_of(st.floats(), st.integers(), st.booleans(), st.text(), st.none()))
def test_only_finite_positive_numbers_within_bounds_are_numbers(value: Any) -> None:
    good = type(value) in (int, float) and math.isfinite(value) and 0 < value <= LARGEST_NUMBER
    try:
        exact = number(value)
    except ValueError:
        return
    assert good
    assert exact > 0


_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=40)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=8,
)


@given(data=st.data())
def test_anything_at_all_is_parsed_or_refused_and_quoted_in_few_words(data: st.DataObject) -> None:
    tool = data.draw(st.sampled_from(list(TOOLS)))
    names = st.one_of(st.sampled_from([*tool.arguments.model_fields, *tool.arguments.also_called, "x"]), st.text())
    received = data.draw(st.dictionaries(names, _json, max_size=6))
    arguments, problems = parse(tool.arguments, received)
    assert (arguments is None) is bool(problems)
    for found in problems:
        assert Code(found.code)
        assert len(found.message) < 700
        assert found.message.isprintable()
    abridged(received)


@given(st.dictionaries(st.text(max_size=10), _json, max_size=5), _json)
def test_a_stop_takes_any_arguments(received: dict[str, Any], reason: Any) -> None:
    """KS-18."""
    arguments, _ = forgiving(StopArguments, received | {"reason": reason})
    assert len(arguments.reason) <= 200


@given(st.text())
def test_cleaned_text_is_bounded_and_visible(text: str) -> None:
    """LLM-02."""
    assert cleaned(text).isprintable()
    assert len(cleaned(text, 20)) <= 20
    assert len(shown(text)) <= 60


async def test_nothing_bad_reaches_the_wire_and_each_is_recorded_once() -> None:
    async with running() as world:
        asked = 0
        for change, codes in BAD:
            if any(isinstance(value, float) and not math.isfinite(value) for value in change.values()):
                continue  # the client's own JSON cannot carry them
            refused = await world.call("place_limit_order", **GOOD | change)
            asked += 1
            assert refused["success"] is False
            assert refused["outcome"] == "refused"
            told = {detail.split(":")[0] for detail in refused["details"]}
            assert set(codes) <= told
            assert refused["next_step"]
            assert len(str(refused)) < 4_000
        assert world.gateway.received_writes == []
        decisions = await world.records(EventType.DECISION)
        assert [record.tool for record in decisions].count("place_limit_order") == asked
        assert (await world.call("get_connection_status"))["link"]["is_up"] is True
