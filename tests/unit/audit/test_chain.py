"""Canonical JSON and redaction: the same text everywhere, and no secret in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibkr_mcp_server.audit.canonical import canonical, canonical_text
from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.redaction import REDACTED, SECRET_TEXT, redacted_text


class Word(StrEnum):
    ONE = "one"


class Number(IntEnum):
    TWO = 2


class Plain(Enum):
    THREE = "three"


@dataclass(frozen=True)
class Nested:
    price: Decimal
    account: str


class Odd:
    def __repr__(self) -> str:
        return "<odd thing>"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": None, "c": [True, "é"]}, '{"a":null,"b":1,"c":[true,"\\u00e9"]}'),
        (Decimal("1.50"), '"1.50"'),
        (Decimal("NaN"), '"NaN"'),
        (0.1, '"0.1"'),
        (float("inf"), '"inf"'),
        (float("nan"), '"nan"'),
        (2**53, '"0x20000000000000"'),
        (datetime(2026, 11, 20, 12, 0, tzinfo=timezone(timedelta(hours=-5))), '"2026-11-20T17:00:00.000000Z"'),
        (date(2026, 11, 20), '"2026-11-20"'),
        (Word.ONE, '"one"'),
        (Number.TWO, '"TWO"'),
        (Plain.THREE, '"three"'),
        ({1: {3, 2}}, '{"1":[2,3]}'),
        (Nested(Decimal("1"), "DU1234567"), '{"account":"******567","price":"1"}'),
        (Odd(), '"<odd thing>"'),
        ("\x00\ud800\u2028", '"\\u0000\\ud800\\u2028"'),
    ],
)
def test_canonical_text_of_each_kind_of_value(value: object, text: str) -> None:
    assert canonical(value) == text


def test_an_enormous_number_costs_no_record() -> None:
    assert len(canonical({"quantity": 10**6000})) > 1000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_every_value_has_one_ascii_text_that_is_its_own_canonical_form(value: object) -> None:
    text = canonical(value)
    assert text.isascii()
    again = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert again == text


@pytest.mark.parametrize(
    "key",
    ["passphrase", "IBKR_OPERATOR_PASSPHRASE", "token", "access_token", "Authorization", "client_secret", "apiKey"],
)
def test_what_stands_under_a_secret_key_is_never_recorded(key: str) -> None:
    """SEC-05."""
    for value in ("canary-4711", ["canary-4711"], {"deep": "canary-4711"}, 4711):
        assert canonical({"outer": [{key: value}]}) == f'{{"outer":[{{"{key}":"[redacted]"}}]}}'


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer canary-4711-abcdef",
        "with bearer canary-4711",
        "BASIC canary-4711",
        "ba\u017fic canary-4711",
        "postgresql://trader:canary-4711@db/x",
        "passphrase=canary-4711",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.canary-4711",
        "-----BEGIN PRIVATE KEY-----\ncanary-4711\n-----END PRIVATE KEY-----",
    ],
)
def test_secrets_inside_text_are_cut_out(text: str) -> None:
    assert "canary" not in canonical({"note": text})
    assert "canary" not in (canonical_text(text) or "")


@given(st.from_regex(SECRET_TEXT) | st.from_regex(SECRET_TEXT, alphabet=st.characters(codec="ascii")))
def test_whatever_has_the_form_of_a_secret_is_cut_out(text: str) -> None:
    assert REDACTED in redacted_text(text)


@pytest.mark.parametrize(
    "value",
    [
        {"account": "DU9000001"},
        {"accounts": ["DU9000001", "U1000001"]},
        {"note": "sent to DU9000001, not U1000001."},
        {"DU9000001": 1, "DU9100001": 2},
        ("F1000001", "DF900001"),
    ],
)
def test_account_numbers_keep_three_characters(value: object) -> None:
    text = canonical(value)
    assert "00001" not in text
    assert "*001" in text


def test_two_accounts_that_end_alike_stay_two() -> None:
    assert json.loads(canonical({"DU9000001": 1, "DU9100001": 2})) == {"******001": 1, "******001'": 2}


@pytest.mark.parametrize("text", ["AAPL", "USD", "ES202612", "STP LMT", "0f3c9b7d", "a" * 64, "secType", "next_step"])
def test_words_of_the_trade_stay_as_they_are(text: str) -> None:
    assert canonical({text: text}) == f'{{"{text}":"{text}"}}'


def test_the_event_types_are_those_of_the_requirements() -> None:
    """AUD-07: those of section 3.5, under their names there; REBALANCE is nothing that happens here (decision 15)."""
    assert set(REQUIRED.split()) <= set(EventType)
    assert all(kind.name == kind.value for kind in EventType)


REQUIRED = """
CIRCUIT_BREAKER_TRIP CIRCUIT_BREAKER_RESET KILL_SWITCH_ACTIVATE KILL_SWITCH_DEACTIVATE ORDER_REJECTED_LIMITS
ORDER_VALIDATION_FAILED ORDER_ATTEMPT TRANSFER WITHDRAWAL SERVER_START SERVER_STOP CONFIG_LOADED DECISION
INTENT_RESERVED ORDER_SENT ORDER_PLACED ORDER_MODIFIED ORDER_CANCELLED ORDER_FILLED ORDER_UNKNOWN ORDER_RECONCILED
MODE_CHANGE STAGE_CHANGE STRATEGY_HALT STRATEGY_RESUME ACCOUNT_VERIFIED ACCOUNT_REJECTED AUTH_FAILED APPROVAL_REQUESTED
APPROVAL_GRANTED CONFIRMATION_ISSUED CONFIRMATION_USED ALERT_SENT ALERT_FAILED LINK_DOWN LINK_UP CHECK_ERROR
CHAIN_CHECKPOINT DRILL_RESULT SAFETY_VIOLATION MARKET_DATA_REQUEST
"""
