"""placeOrder: every optional section is read, and what was sent is what openOrder echoes."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibkr_mcp_server.simulator.requests import PlaceOrder, UnreadableRequest, decode_request

VERSIONS = (176, 177, 178)
prices = st.decimals(min_value="0.01", max_value=10**6, places=2)


def place_order(version: int, **sections: list[str]) -> list[str]:
    """A placeOrder message, field by field in the order of the guide's section 9; sections replace what is there."""

    def section(name: str, *usual: str) -> list[str]:
        return sections.get(name, list(usual))

    sec_type = sections.get("sec_type", ["STK"])[0]
    return [
        *("3", "7", "265598", "AAPL", sec_type, "", "0.0", "", "", *section("exchange", "SMART"), "", "USD", "", ""),
        *("", "", *section("action", "BUY"), *section("quantity", "10"), *section("order_type", "LMT")),
        *(*section("limit", "238.5"), *section("aux", ""), *section("tif", "DAY"), "", "DU9000001", "O", "0"),
        *(*section("order_ref", "ref"), "1", "0", "0", "0", "0", "0", "0", "0"),
        *section("legs"),
        *("", "0", "", "", "", "", ""),
        *([""] if version < 177 else []),
        *("", "0", "", "-1", "0", "", "", "0", "", "", "0", "0", "", "0", "", "", "", "", "", "0", "", ""),
        *section("delta_neutral_order", "", ""),
        *("0", "", "", "", "", ""),
        *section("scale", ""),
        *("", "", "", *section("hedge", ""), "0", "", "", "0", *section("delta_neutral_contract", "0")),
        *section("algo", ""),
        *("", "0", "", "0", "0", "0", *section("peg_bench"), *section("conditions", "0")),
        *("", "", "", "", "", "", "0", "", "", "", "", "", "", "", "", "0", "0", "0", "", "", "", "0", "", ""),
        *section("tail"),
    ]


def decoded(version: int, **sections: list[str]) -> PlaceOrder:
    request = decode_request(place_order(version, **sections), version)
    assert isinstance(request, PlaceOrder), request
    assert request.unread == ()
    return request


@pytest.mark.parametrize("version", VERSIONS)
def test_plain_order_is_read_to_its_last_field(version: int) -> None:
    terms = decoded(version).terms
    assert (terms.action, terms.quantity, terms.order_type, terms.limit_price) == (
        "BUY",
        Decimal(10),
        "LMT",
        Decimal("238.5"),
    )
    assert (terms.order_ref, terms.account, terms.transmit, terms.tif) == ("ref", "DU9000001", True, "DAY")


@given(st.sampled_from(VERSIONS), prices, prices, st.sampled_from(["BUY", "SELL"]), st.text("abc-123", max_size=12))
def test_what_was_written_is_what_is_read(version: int, limit: Decimal, aux: Decimal, action: str, ref: str) -> None:
    terms = decoded(version, limit=[str(limit)], aux=[str(aux)], action=[action], order_ref=[ref]).terms
    assert (terms.limit_price, terms.aux_price, terms.action, terms.order_ref) == (limit, aux, action, ref)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "sections",
    [
        {
            "sec_type": ["BAG"],
            "legs": [
                *(
                    "2",
                    *["1", "1", "BUY", "SMART", "0", "0", "", "-1"],
                    *["2", "1", "SELL", "SMART", "0", "0", "", "-1"],
                ),
                *("1", "3.5", "1", "NonGuaranteed", "1"),
            ],
        },
        {"delta_neutral_order": ["MKT", "1.5", "4711", "", "", "", "O", "0", "0", ""]},
        {"scale": ["0.5", "1", "2", "3", "0", "4", "5", "0"]},
        {"hedge": ["D", "param"]},
        {"delta_neutral_contract": ["1", "4711", "0.5", "10"]},
        {"algo": ["Adaptive", "1", "adaptivePriority", "Normal"]},
        {"order_type": ["PEG BENCH"], "peg_bench": ["1", "0", "0.1", "0.2", "ISLAND"]},
        {
            "conditions": [
                *("6", "1", "a", "1", "200", "265598", "SMART", "0", "3", "o", "1", "20261120 10:00:00"),
                *("4", "a", "1", "30", "5", "a", "STK", "SMART", "AAPL", "6", "a", "1", "1000", "265598", "SMART"),
                *("7", "a", "1", "5", "265598", "SMART", "1", "0"),
            ]
        },
        {"exchange": ["IBKRATS"], "tail": ["100"]},
        {"order_type": ["PEG BEST"], "tail": ["100", "0.01"]},
        {"order_type": ["PEGBEST"], "tail": ["100", "Infinity", "0.01", "0.02"]},
        {"order_type": ["PEG MID"], "tail": ["0.01", "0.02"]},
    ],
)
def test_each_optional_section_is_read_to_its_end(version: int, sections: dict[str, list[str]]) -> None:
    decoded(version, **sections)


def test_conditions_are_kept_for_the_echo() -> None:
    terms = decoded(178, conditions=["1", "3", "a", "1", "20261120 10:00:00", "1", "0"]).terms
    assert terms.conditions == (("3", "a", "1", "20261120 10:00:00"),)
    assert terms.sent("conditionsIgnoreRth") == "1"


@pytest.mark.parametrize("missing", [1, 20, 60])
def test_cut_off_order_is_unreadable_and_names_the_order(missing: int) -> None:
    request = decode_request(place_order(178)[:-missing], 178)
    assert isinstance(request, UnreadableRequest)
    assert request.about == 7


@pytest.mark.parametrize("limit", ["NaN", "1e400", "ten"])
def test_limits_that_are_no_numbers_make_the_order_unreadable_or_unset(limit: str) -> None:
    request = decode_request(place_order(178, limit=[limit]), 178)
    if isinstance(request, PlaceOrder):
        assert request.terms.limit_price is None
    else:
        assert isinstance(request, UnreadableRequest)
