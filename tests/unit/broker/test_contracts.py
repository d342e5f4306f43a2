"""How a symbol is read."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from ib_async import Contract, ContractDetails

from ibkr_mcp_server.broker.contracts import agrees, contract_from, the_one
from ibkr_mcp_server.domain.instruments import InstrumentQuery, SecType
from ibkr_mcp_server.errors import Refused

OPTION = InstrumentQuery(
    symbol="AAPL", sec_type=SecType.OPT, last_trade_date="20261218", strike=Decimal("272.5"), right="C"
)
HELD = Contract(
    "OPT",
    conId=7,
    symbol="AAPL",
    lastTradeDateOrContractMonth="20261218",
    strike=272.5,
    right="C",
    multiplier="100",
    exchange="SMART",
    currency="USD",
    tradingClass="AAPL",
)


@pytest.mark.parametrize(
    ("query", "contract"),
    [
        (InstrumentQuery(symbol="AAPL"), Contract("STK", symbol="AAPL", exchange="SMART")),
        (InstrumentQuery(symbol="BRK.B"), Contract("STK", symbol="BRK B", exchange="SMART")),
        (InstrumentQuery(symbol="VOD.LSE.GBP"), Contract("STK", symbol="VOD", exchange="LSE", currency="GBP")),
        (
            InstrumentQuery(symbol="KBC.ENEXT.BE.EUR"),
            Contract("STK", symbol="KBC", exchange="ENEXT.BE", currency="EUR"),
        ),
        (InstrumentQuery(symbol="BRK.B.NYSE.USD"), Contract("STK", symbol="BRK B", exchange="NYSE", currency="USD")),
        (InstrumentQuery(symbol="7203.TSEJ.JPY"), Contract("STK", symbol="7203", exchange="TSEJ", currency="JPY")),
        (InstrumentQuery(symbol="GBPUSD"), Contract("CASH", symbol="GBP", exchange="IDEALPRO", currency="USD")),
        (InstrumentQuery(symbol="USD.JPY"), Contract("CASH", symbol="USD", exchange="IDEALPRO", currency="JPY")),
        (InstrumentQuery(symbol="EURUSD", sec_type=SecType.STK), Contract("STK", symbol="EURUSD", exchange="SMART")),
        (InstrumentQuery(symbol="USD.USD"), Contract("STK", symbol="USD.USD", exchange="SMART")),
        (InstrumentQuery(symbol="", con_id=5), Contract(conId=5)),
        (
            OPTION,
            Contract(
                "OPT",
                symbol="AAPL",
                exchange="SMART",
                lastTradeDateOrContractMonth="20261218",
                strike=272.5,
                right="C",
            ),
        ),
        (
            InstrumentQuery(
                symbol="SPX", last_trade_date="20261218", strike=Decimal(6000), right="P", trading_class="SPXW"
            ),
            Contract(
                "OPT",
                symbol="SPX",
                exchange="SMART",
                lastTradeDateOrContractMonth="20261218",
                strike=6000,
                right="P",
                tradingClass="SPXW",
            ),
        ),
        (
            InstrumentQuery(symbol="ES", sec_type=SecType.FUT, last_trade_date="202612", multiplier=Decimal(50)),
            Contract("FUT", symbol="ES", lastTradeDateOrContractMonth="202612", multiplier="50"),
        ),
        (InstrumentQuery(symbol="SPX", sec_type=SecType.IND), Contract("IND", symbol="SPX")),
        (InstrumentQuery(symbol="BTC", sec_type=SecType.CRYPTO), Contract("CRYPTO", symbol="BTC")),
    ],
    ids=lambda value: getattr(value, "symbol", None),
)
def test_symbol_forms(query: InstrumentQuery, contract: Contract) -> None:
    assert contract_from(query) == contract


@pytest.mark.parametrize("missing", ["last_trade_date", "strike", "right"])
def test_an_incomplete_option_is_not_asked_for_and_its_missing_part_is_named(missing: str) -> None:
    """The broker would answer with thousands of contracts."""
    with pytest.raises(Refused, match=f"{missing} is missing") as refused:
        contract_from(replace(OPTION, **{missing: None}))  # type: ignore[arg-type]  # one of three names
    assert refused.value.code == "CONTRACT_AMBIGUOUS"
    assert "get_option_chain" in refused.value.next_step


def test_a_date_alone_does_not_say_whether_a_future_or_an_option_is_meant() -> None:
    with pytest.raises(Refused, match="future or an option"):
        contract_from(InstrumentQuery(symbol="ES", last_trade_date="202612"))


@pytest.mark.parametrize(
    ("said", "fits"),
    [
        ({"symbol": "AAPL"}, True),
        ({"symbol": "AAPL", "sec_type": SecType.OPT, "strike": Decimal("272.5")}, True),
        ({"symbol": "AAPL", "last_trade_date": "202612"}, True),
        ({"symbol": "AAPL", "sec_type": SecType.STK}, False),
        ({"symbol": "AAPL", "strike": Decimal(270)}, False),
        ({"symbol": "AAPL", "right": "P"}, False),
        ({"symbol": "AAPL", "last_trade_date": "20261219"}, False),
        ({"symbol": "AAPL", "multiplier": Decimal(10)}, False),
        ({"symbol": "AAPL", "trading_class": "2AAPL"}, False),
    ],
)
def test_a_contract_id_must_be_what_the_rest_of_the_request_says(said: dict[str, Any], fits: bool) -> None:
    assert agrees(InstrumentQuery(con_id=7, **said), HELD) is fits


def test_several_derivatives_are_told_apart_by_date_strike_and_class() -> None:
    classes = [
        Contract(
            "OPT",
            conId=number,
            symbol="SPX",
            lastTradeDateOrContractMonth="20261218",
            strike=6000,
            right="C",
            multiplier="100",
            exchange="SMART",
            currency="USD",
            tradingClass=name,
        )
        for number, name in enumerate(("SPX", "SPXW"), start=1)
    ]
    query = InstrumentQuery(
        symbol="SPX", sec_type=SecType.OPT, last_trade_date="20261218", strike=Decimal(6000), right="C"
    )
    with pytest.raises(Refused) as refused:
        the_one(query, [ContractDetails(contract=contract) for contract in classes])
    first, second = refused.value.details
    assert "SPX 20261218 6000 C multiplier 100 con_id 1" in first
    assert "SPXW 20261218 6000 C multiplier 100 con_id 2" in second
    assert "trading_class" in refused.value.next_step
