"""What the client library's decoder calls for answers to reads: each message becomes rows of somebody's answer.

The names are the library's. A family of requests adds its messages here and asks in a module of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ibkr_mcp_server.broker import research_rows, translate
from ibkr_mcp_server.broker.answers import Answers
from ibkr_mcp_server.broker.book import Book
from ibkr_mcp_server.broker.hearing import Remark
from ibkr_mcp_server.broker.library import ib_async


class TickListener(Protocol):
    """Where market data goes."""

    def price(self, req_id: int, tick_type: int, price: float, size: float) -> None: ...
    def size(self, req_id: int, tick_type: int, size: float) -> None: ...
    def generic(self, req_id: int, tick_type: int, value: float) -> None: ...
    def text(self, req_id: int, tick_type: int, text: str) -> None: ...
    def computation(self, req_id: int, tick_type: int, numbers: Mapping[str, float]) -> None: ...
    def data_type(self, req_id: int, data_type: int) -> None: ...
    def remark(self, req_id: int, remark: Remark) -> bool: ...
    def lost(self) -> None: ...


class ProfitListener(Protocol):
    """Where the profit of the accounts goes."""

    def told(self, req_id: int, daily: float, unrealized: float, realized: float) -> bool: ...


class ReadMessages:
    """The reading part of the library's wrapper."""

    def __init__(self, book: Book) -> None:
        self.answers = Answers()
        self.ticks: TickListener | None = None
        self.profits: ProfitListener | None = None
        self._book = book

    # Accounts

    def accountSummary(self, req_id: int, account: str, tag: str, value: str, currency: str) -> None:
        self.answers.add(req_id, translate.SummaryRow(account=account, tag=tag, value=value, currency=currency))

    def accountSummaryEnd(self, req_id: int) -> None:
        self.answers.end(req_id)

    def updateAccountValue(self, _tag: str, _value: str, _currency: str, _account: str) -> None:
        """Balances are asked for when they are wanted; the subscription is kept for the valued positions."""

    def updatePortfolio(self, contract: ib_async.Contract, *values: Any) -> None:
        self._book.valued(ib_async.PortfolioItem(contract, *values))

    def accountDownloadEnd(self, _account: str) -> None:
        self.answers.end_of("account updates")

    def position(self, account: str, contract: ib_async.Contract, held: float, average_cost: float) -> None:
        self.answers.add_to("positions", (account, contract, held, average_cost))
        self._book.position(account, contract, held, average_cost)

    def positionEnd(self) -> None:
        self.answers.end_of("positions")

    def pnl(self, req_id: int, daily: float, unrealized: float, realized: float) -> None:
        if self.profits is None or not self.profits.told(req_id, daily, unrealized, realized):
            self.answers.add(req_id, (daily, unrealized, realized))

    def pnlSingle(
        self, req_id: int, held: float, daily: float, unrealized: float, realized: float, value: float
    ) -> None:
        self.answers.add(req_id, (held, daily, unrealized, realized, value))

    # Finished orders

    def completedOrder(self, contract: ib_async.Contract, order: ib_async.Order, state: ib_async.OrderState) -> None:
        self.answers.add_to("completed orders", (contract, order, state))

    def completedOrdersEnd(self) -> None:
        self.answers.end_of("completed orders")

    # Contracts

    def contractDetails(self, req_id: int, details: ib_async.ContractDetails) -> None:
        self.answers.add(req_id, details)

    bondContractDetails = contractDetails

    def contractDetailsEnd(self, req_id: int) -> None:
        self.answers.end(req_id)

    def symbolSamples(self, req_id: int, found: list[ib_async.ContractDescription]) -> None:
        self.answers.end(req_id, *found)

    def marketRule(self, rule_id: int, increments: list[ib_async.PriceIncrement]) -> None:
        self.answers.end_of(f"market rule {rule_id}", *increments)

    # Options, scanners and news

    def securityDefinitionOptionParameter(
        self,
        req_id: int,
        exchange: str,
        _underlying_con_id: object,
        trading_class: str,
        multiplier: str,
        expirations: Sequence[str],
        strikes: Sequence[float],
    ) -> None:
        row = research_rows.chain_of(exchange, trading_class, multiplier, expirations, strikes)
        self.answers.add(req_id, row)

    def securityDefinitionOptionParameterEnd(self, req_id: int) -> None:
        self.answers.end(req_id)

    def scannerParameters(self, xml: str) -> None:
        self.answers.end_of("scanner parameters", xml)

    def scannerData(self, req_id: int, rank: int, details: ib_async.ContractDetails, *texts: str) -> None:
        self.answers.add(req_id, research_rows.scan_row(rank, details, *texts))

    def scannerDataEnd(self, req_id: int) -> None:
        self.answers.end(req_id)

    def newsProviders(self, providers: Sequence[ib_async.NewsProvider]) -> None:
        self.answers.end_of("news providers", *providers)

    def historicalNews(self, req_id: int, time: str, provider: str, article_id: str, headline: str) -> None:
        if (row := research_rows.headline_of(time, provider, article_id, headline)) is not None:
            self.answers.add(req_id, row)

    def historicalNewsEnd(self, req_id: int, has_more: bool) -> None:
        self.answers.end(req_id, has_more)

    def newsArticle(self, req_id: int, form: int, text: str) -> None:
        self.answers.end(req_id, (form, text))

    # History

    def historicalData(self, req_id: int, bar: ib_async.BarData) -> None:
        self.answers.add(req_id, bar)

    def historicalDataEnd(self, req_id: int, _start: str, _end: str) -> None:
        self.answers.end(req_id)

    def historicalSchedule(
        self, req_id: int, _start: str, _end: str, time_zone: str, sessions: list[ib_async.HistoricalSession]
    ) -> None:
        self.answers.end(req_id, (time_zone, sessions))

    def headTimestamp(self, req_id: int, told: str) -> None:
        self.answers.end(req_id, told)

    # Market data

    def marketDataType(self, req_id: int, data_type: int) -> None:
        if self.ticks is not None:
            self.ticks.data_type(req_id, data_type)

    def priceSizeTick(self, req_id: int, tick_type: int, price: float, size: float) -> None:
        if self.ticks is not None:
            self.ticks.price(req_id, tick_type, price, size)

    def tickSize(self, req_id: int, tick_type: int, size: float) -> None:
        if self.ticks is not None:
            self.ticks.size(req_id, tick_type, size)

    def tickString(self, req_id: int, tick_type: int, text: str) -> None:
        if self.ticks is not None:
            self.ticks.text(req_id, tick_type, text)

    def tickGeneric(self, req_id: int, tick_type: int, value: float) -> None:
        if self.ticks is not None:
            self.ticks.generic(req_id, tick_type, value)

    def tickOptionComputation(
        self,
        req_id: int,
        tick_type: int,
        _attributes: int,
        implied_volatility: float,
        delta: float,
        option_price: float,
        dividends: float,
        gamma: float,
        vega: float,
        theta: float,
        underlying_price: float,
    ) -> None:
        if self.ticks is not None:
            numbers = {
                "implied_volatility": implied_volatility,
                "delta": delta,
                "option_price": option_price,
                "dividends": dividends,
                "gamma": gamma,
                "vega": vega,
                "theta": theta,
                "underlying_price": underlying_price,
            }
            self.ticks.computation(req_id, tick_type, numbers)
