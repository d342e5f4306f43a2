"""How a symbol is read."""

from __future__ import annotations

import pytest
from ib_async import Contract

from ibkr_mcp_server.broker.contracts import contract_from
from ibkr_mcp_server.domain.instruments import InstrumentQuery, SecType


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
    ],
    ids=lambda value: getattr(value, "symbol", None),
)
def test_symbol_forms(query: InstrumentQuery, contract: Contract) -> None:
    assert contract_from(query) == contract
