"""The table of codes, and what becomes of the broker's words."""

from __future__ import annotations

import ast
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibkr_mcp_server.broker import error_codes
from ibkr_mcp_server.broker.error_codes import KNOWN_CODES, Kind, explain, order_rejected, quoted, request_error
from ibkr_mcp_server.errors import Refused, Unavailable
from ibkr_mcp_server.safety.codes import Code

SENDERS = {"replies.error", "OrderRefusal", "OrderMessage"}
ERRORS = {"Refused", "Unavailable", "Fault", "OutcomeUnknown", "Refusal"}

OF_THE_GUIDE = (
    {100, 101, 300, 322, 103, 104, 105, 107, 135, 110, 111, 113, 161, 162, 165, 366, 200, 201, 202, 309, 317, 320, 321}
    | {326, 328, 329, 354, 10089, 10167, 10168, 10197, 382, 383, 388, 434, 399, 404, 420, 10189, 10190, 502, 503, 504}
    | {505, 506, 507, 508, 509, 1100, 1101, 1102, 1300, 2103, 2105, 2157, 2104, 2106, 2158, 2107, 2108, 2119, 2110}
    | {2109, 2137, 2150, 10147, 10148, 10349, 10358}
)


def test_every_code_that_gateways_were_seen_to_send_is_explained() -> None:
    assert set() == OF_THE_GUIDE - KNOWN_CODES


def test_every_code_that_the_paper_gateway_sends_is_explained() -> None:
    sent = set()
    for file in (Path(error_codes.__file__).parent.parent / "simulator").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "replies.error",
                "OrderRefusal",
                "OrderMessage",
            ):
                values = [*node.args, *(keyword.value for keyword in node.keywords)]
                numbers = (value.value for value in values if isinstance(value, ast.Constant))
                sent |= {number for number in numbers if isinstance(number, int) and number >= 100}
    assert len(sent) > 20
    assert set() == sent - KNOWN_CODES


@pytest.mark.parametrize("code", sorted(KNOWN_CODES))
def test_each_line_says_what_it_means_and_what_to_do_next(code: int) -> None:
    line = explain(code)
    assert line.code == code
    assert line.meaning.endswith(".")
    assert line.next_step.endswith(".")


@pytest.mark.parametrize("code", [399, 404, 2109, 10349, 10167])
def test_remarks_on_living_orders_are_no_refusals(code: int) -> None:
    assert explain(code).kind is Kind.WARNING


def test_every_code_that_the_adapter_tells_is_documented() -> None:
    """TW-05: an agent finds each in the list of refusals, with its remedy."""
    told = set()
    for file in Path(error_codes.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
                codes = [*node.args[:1], *(given.value for given in node.keywords if given.arg == "code")]
                told |= {code.value for code in codes if isinstance(code, ast.Constant)}
    assert len(told) > 10
    assert told - set(Code) == set()


@given(st.integers(min_value=-(10**9), max_value=10**9).filter(lambda code: code not in KNOWN_CODES))
def test_nothing_is_concluded_from_an_unknown_code(code: int) -> None:
    assert explain(code).kind is (Kind.WARNING if 2100 <= code < 2200 else Kind.UNKNOWN)


@given(st.text())
def test_quoted_text_is_one_short_visible_line(text: str) -> None:
    line = quoted(text)
    assert len(line) <= 200
    assert not any(unicodedata.category(character).startswith("C") for character in line)
    assert line == line.strip()


def test_long_text_is_cut_visibly() -> None:
    assert quoted("x" * 500) == "x" * 199 + "…"


def test_pacing_says_when_to_come_back() -> None:
    error = request_error(162, "Historical Market Data Service error message: API pacing violation", what="bars")
    assert isinstance(error, Unavailable)
    assert (error.code, error.retry_after_seconds) == ("BROKER_PACING", 1.0)


def test_refused_request_and_rejected_order_carry_code_and_words() -> None:
    refused = request_error(200, "No security\x00 definition", what="contract details")
    assert isinstance(refused, Refused)
    assert (refused.broker_code, refused.broker_text) == (200, "No security definition")
    rejected = order_rejected(201, "Order rejected", what="the order")
    assert (rejected.code, rejected.broker_code) == ("BROKER_REJECTED", 201)
    assert rejected.next_step


def test_a_request_is_worth_another_try_only_where_the_broker_says_that_it_will_pass() -> None:
    """RL-13."""
    lines_in_use = request_error(101, "Max number of tickers has been reached", what="x")
    no_contract = request_error(200, "No security definition", what="x")
    assert isinstance(lines_in_use, Unavailable)
    assert (lines_in_use.code, lines_in_use.retry_after_seconds) == ("BROKER_REFUSED", 1.0)
    assert no_contract.retry_after_seconds is None
