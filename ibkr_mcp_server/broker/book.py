"""Orders, fills and positions as the broker last told them; no I/O.

Nothing enters the book but what came over the wire: an order that was sent and not yet answered is not in it. Orders
are kept by their permanent id, across connections; order ids count within one connection only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

from ibkr_mcp_server.broker import translate
from ibkr_mcp_server.broker.base import BrokerEvent, BrokerEventKind
from ibkr_mcp_server.broker.library import ib_async
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.accounts import AccountPnl, AccountSummary, Position
from ibkr_mcp_server.domain.instruments import Instrument
from ibkr_mcp_server.domain.orders import BrokerOrder, Execution, Order, OrderStatus, fill_of

FINISHED_ORDERS_KEPT = 2_000
FILLS_KEPT = 20_000
SETTLING_SECONDS = 5.0
"""How long a fill may be ahead of the position that it changes; the report usually follows within milliseconds."""

Key = int | tuple[int, int]
"""The permanent id, or (client id, order id) while the broker has not told one."""


class Book:
    """What is known, and the events that tell when it changes."""

    def __init__(self, clock: Clock, emit: Callable[[BrokerEvent], None]) -> None:
        self._clock = clock
        self._emit = emit
        self._instruments: dict[int, Instrument] = {}
        self.industries: dict[int, str] = {}
        self._orders: dict[Key, BrokerOrder] = {}
        self._touched: dict[Key, int] = {}
        self._count = itertools.count(1)
        self._session_keys: dict[tuple[int, int], Key] = {}
        self._echoes: dict[Key, ib_async.Order] = {}
        self._fills: dict[str, tuple[int, Execution]] = {}
        self._fills_of: dict[int, dict[str, None]] = {}
        """By permanent id, the keys of an order's fills in the order in which they were told."""
        self._positions: dict[tuple[str, int], Position] | None = None
        self._valued: dict[tuple[str, int], ib_async.PortfolioItem] = {}
        self._unsettled: dict[tuple[str, int], list[tuple[float, Decimal]]] = {}
        self._balances: dict[str, AccountSummary] = {}
        self._pnl: dict[str, AccountPnl] = {}

    # ------------------------------------------------------------------------------------------------------ answers

    def orders(self) -> list[BrokerOrder]:
        return list(self._orders.values())

    def working_orders(self) -> list[BrokerOrder]:
        return [order for order in self._orders.values() if order.is_working]

    def order(self, *, perm_id: int = 0, client_id: int = 0, order_id: int = 0) -> BrokerOrder | None:
        """By permanent id if given, else by the ids of the current connection."""
        key: Key | None = perm_id or self._session_keys.get((client_id, order_id))
        return self._orders.get(key) if key else None

    def echo(self, perm_id: int) -> ib_async.Order | None:
        """The library's order as this connection's broker last described it in full."""
        return self._echoes.get(perm_id)

    def executions(self) -> list[Execution]:
        return [fill for _, fill in self._fills.values()]

    def execution(self, execution_id: str) -> Execution | None:
        known = self._fills.get(fill_of(execution_id)[0])
        return known[1] if known else None

    def average_fill_price(self, perm_id: int) -> Decimal | None:
        fills = self._fills_under(perm_id)
        filled = sum((fill.quantity for fill in fills), Decimal())
        return sum((fill.quantity * fill.price for fill in fills), Decimal()) / filled if filled else None

    def positions(self) -> list[Position] | None:
        if self._positions is None:
            return None
        return [self._with_prices(key, held) for key, held in self._positions.items()]

    def unsettled(self, account: str) -> dict[int, Decimal]:
        """See `BrokerReads.unsettled`."""
        since = self._clock.monotonic() - SETTLING_SECONDS
        return {
            con_id: sum((quantity for at, quantity in fills if at > since), Decimal())
            for (owner, con_id), fills in self._unsettled.items()
            if owner == account
        }

    def balances(self, account: str) -> AccountSummary | None:
        """See `BrokerReads.known_balances`."""
        return self._balances.get(account)

    def pnl(self, account: str) -> AccountPnl | None:
        """See `BrokerReads.known_pnl`."""
        return self._pnl.get(account)

    def instrument(self, con_id: int) -> Instrument | None:
        return self._instruments.get(con_id)

    def missing(self, listed: Iterable[Key], since: int) -> list[Key]:
        """Working orders that a complete list of open orders, asked for at `since`, does not name."""
        alive = set(listed)
        return [
            key
            for key, order in self._orders.items()
            if order.is_working and key not in alive and self._touched[key] < since
        ]

    def mark(self) -> int:
        """A point in the stream of news, for `close_missing`."""
        return next(self._count)

    # ------------------------------------------------------------------------------------------------------- changes

    def new_connection(self) -> None:
        """Order ids, echoes and prices belong to one connection; orders, fills and positions stay known."""
        self._session_keys.clear()
        self._echoes.clear()
        self._valued.clear()

    def learn(self, instrument: Instrument) -> None:
        self._instruments[instrument.con_id] = instrument
        self.industries[instrument.con_id] = instrument.industry or ""

    def open_order(
        self, order_id: int, contract: ib_async.Contract, echo: ib_async.Order, state: ib_async.OrderState
    ) -> BrokerOrder:
        """The broker described a working order in full."""
        key = self._key(echo.permId, echo.clientId, order_id)
        known = self._orders.get(key)
        order = translate.order_of(contract, echo, self._instruments.get(contract.conId))
        told = translate.status_of(state.status)
        # An echo can trail the status that ended the order. Inactive is no end: such an order may come back.
        ended = known is not None and known.status in (OrderStatus.FILLED, OrderStatus.CANCELLED)
        status = known.status if known is not None and ended else told
        # The amounts come with the status that follows; "Filled" alone says that nothing remains.
        filled = known.filled if known is not None else Decimal()
        filled = order.quantity if status is OrderStatus.FILLED else filled
        if key == echo.permId:
            self._echoes[echo.permId] = echo
        return self._put(
            key,
            BrokerOrder(
                order=order,
                perm_id=echo.permId,
                order_id=order_id,
                client_id=echo.clientId,
                status=status,
                filled=filled,
                remaining=max(Decimal(), order.quantity - filled),
                average_fill_price=known.average_fill_price if known is not None else None,
                last_message=known.last_message if known is not None else "",
                last_error_code=known.last_error_code if known is not None else None,
                parent_perm_id=self._perm_id_of(echo.clientId, echo.parentId),
                oca_group=echo.ocaGroup,
                why_held=known.why_held if known is not None else "",
                placed_here=translate.is_ours(order.order_ref),
                updated_at=known.updated_at if known is not None else None,
            ),
        )

    def order_status(
        self,
        *,
        perm_id: int,
        client_id: int,
        order_id: int,
        status: str,
        filled: float,
        remaining: float,
        average_fill_price: float,
        why_held: str,
        sent: Order | None = None,
    ) -> BrokerOrder | None:
        """The broker told where an order stands; `sent` describes it if the broker has not yet done so itself.

        None for an order that nobody described.
        """
        key = self._key(perm_id, client_id, order_id)
        known = self._orders.get(key)
        if known is None and sent is not None:
            known = BrokerOrder(
                order=sent,
                perm_id=perm_id,
                order_id=order_id,
                client_id=client_id,
                status=OrderStatus.PENDING_SUBMIT,
                filled=Decimal(),
                remaining=sent.quantity,
                average_fill_price=None,
                placed_here=translate.is_ours(sent.order_ref),
            )
        if known is None:
            return None
        return self._put(
            key,
            replace(
                known,
                perm_id=perm_id or known.perm_id,
                status=translate.status_of(status),
                filled=translate.quantity(filled),
                remaining=translate.quantity(remaining),
                average_fill_price=translate.price(average_fill_price) or known.average_fill_price,
                why_held=why_held,
            ),
        )

    def remark(self, client_id: int, order_id: int, code: int, text: str) -> BrokerOrder | None:
        """The broker said something about an order; only code 202 tells that it ended."""
        key = self._session_keys.get((client_id, order_id))
        known = self._orders.get(key) if key else None
        if key is None or known is None:
            return None
        status = OrderStatus.CANCELLED if code == 202 and known.is_working else known.status
        return self._put(key, replace(known, last_message=text, last_error_code=code, status=status))

    def completed(self, order: BrokerOrder) -> BrokerOrder:
        """Today's record of a finished order; what is known of it beyond that is kept."""
        known = self._orders.get(order.perm_id)
        if known is not None:
            order = replace(
                order,
                order_id=known.order_id,
                client_id=known.client_id,
                average_fill_price=order.average_fill_price or known.average_fill_price,
                last_message=known.last_message or order.last_message,
                last_error_code=known.last_error_code,
                updated_at=known.updated_at,
            )
            if known.status in (OrderStatus.FILLED, OrderStatus.CANCELLED):
                known = replace(known, completed_at=order.completed_at or known.completed_at)
                self._orders[order.perm_id] = known
                return known
        return self._put(order.perm_id, order)

    def close_missing(self, listed: Iterable[Key], since: int) -> list[BrokerOrder]:
        """End the orders that are `missing`.

        How they ended is in the completed orders, which must be read first. What is in neither list was finished
        before today; its fills say how much of it was filled.
        """
        ended = []
        for key in self.missing(listed, since):
            order = self._orders[key]
            filled = max(order.filled, self._filled_quantity(order.perm_id))
            remaining = max(Decimal(), order.order.quantity - filled)
            ended.append(
                self._put(
                    key,
                    replace(
                        order,
                        status=OrderStatus.INACTIVE if remaining else OrderStatus.FILLED,
                        filled=filled,
                        remaining=remaining,
                        last_message=order.last_message or "The broker does not list it any more.",
                    ),
                )
            )
        return ended

    def fill(self, contract: ib_async.Contract, told: ib_async.Execution) -> Execution:
        """One fill; told twice it counts once, and a correction takes the place of what it corrects (ID-13)."""
        key, revision = fill_of(told.execId)
        known = self._fills.get(key)
        if known is not None and known[0] >= revision:
            return known[1]
        execution = translate.execution_of(contract, told, self._instruments.get(contract.conId))
        self._fills[key] = (revision, execution)
        self._fills_of.setdefault(execution.perm_id, {})[key] = None
        while len(self._fills) > FILLS_KEPT:
            _, oldest = self._fills.pop(first := next(iter(self._fills)))
            self._fills_of[oldest.perm_id].pop(first, None)
        now = self._clock.now()
        if (now - execution.executed_at).total_seconds() < SETTLING_SECONDS:
            stamped = (self._clock.monotonic(), execution.quantity * execution.side.sign)
            self._unsettled.setdefault((execution.account, contract.conId), []).append(stamped)
        self._emit(BrokerEvent(kind=BrokerEventKind.EXECUTION, at=now, execution=execution))
        return execution

    def commission(self, report: ib_async.CommissionReport) -> None:
        key, revision = fill_of(report.execId)
        known = self._fills.get(key)
        if known is None or known[0] > revision:
            return
        execution = replace(
            known[1],
            commission=translate.number(report.commission),
            commission_currency=report.currency or None,
            realized_pnl=translate.number(report.realizedPNL),
        )
        if execution != known[1]:
            self._fills[key] = (known[0], execution)
            self._emit(BrokerEvent(kind=BrokerEventKind.COMMISSION, at=self._clock.now(), execution=execution))

    def position(self, account: str, contract: ib_async.Contract, held: float, average_cost: float) -> None:
        """A holding changed; an amount of 0 ends it."""
        self._unsettled.pop((account, contract.conId), None)
        if self._positions is not None:
            self._hold(self._positions, account, contract, held, average_cost)

    def all_positions(self, rows: Sequence[tuple[str, ib_async.Contract, float, float]]) -> list[Position]:
        """The complete list of holdings: what it does not name is not held any more."""
        fresh: dict[tuple[str, int], Position] = {}
        for row in rows:
            self._hold(fresh, *row)
        self._positions = fresh
        return [self._with_prices(key, held) for key, held in fresh.items()]

    def forget_values(self) -> None:
        """Valuations are of another account from here on; the old ones are not kept up."""
        self._valued.clear()

    def balanced(self, summary: AccountSummary) -> None:
        """The broker told the balances of an account."""
        self._balances[summary.account] = summary

    def profited(self, pnl: AccountPnl) -> None:
        """The broker told the profit of an account."""
        self._pnl[pnl.account] = pnl

    def valued(self, item: ib_async.PortfolioItem) -> None:
        """The broker's valuation of one holding."""
        self._valued[item.account, item.contract.conId] = item

    # --------------------------------------------------------------------------------------------------------- helpers

    def _hold(
        self,
        into: dict[tuple[str, int], Position],
        account: str,
        contract: ib_async.Contract,
        held: float,
        average_cost: float,
    ) -> None:
        key = (account, contract.conId)
        amount = translate.quantity(held)
        if not amount:
            into.pop(key, None)
            return
        into[key] = Position(
            account=account,
            instrument=self._instruments.get(contract.conId) or translate.instrument_of(contract),
            quantity=amount,
            average_cost=translate.number(average_cost),
        )

    def _with_prices(self, key: tuple[str, int], held: Position) -> Position:
        item = self._valued.get(key)
        instrument = self._instruments.get(held.instrument.con_id, held.instrument)
        if item is None or translate.quantity(item.position) != held.quantity:  # valued before the last change
            return replace(held, instrument=instrument)
        return replace(
            held,
            instrument=instrument,
            market_price=translate.price(item.marketPrice),
            market_value=translate.number(item.marketValue),
            unrealized_pnl=translate.number(item.unrealizedPNL),
            realized_pnl=translate.number(item.realizedPNL),
        )

    def _key(self, perm_id: int, client_id: int, order_id: int) -> Key:
        """The lasting key of an order, learnt as soon as the broker tells it."""
        ids = (client_id, order_id)
        provisional = self._session_keys.get(ids)
        if not perm_id:
            key: Key = provisional if provisional is not None else ids
        else:
            key = perm_id
            if isinstance(provisional, tuple) and provisional in self._orders:
                self._orders[key] = self._orders.pop(provisional)
                self._touched[key] = self._touched.pop(provisional)
        if order_id > 0:
            self._session_keys[ids] = key
        return key

    def _perm_id_of(self, client_id: int, order_id: int) -> int:
        key = self._session_keys.get((client_id, order_id)) if order_id else None
        return key if isinstance(key, int) else 0

    def _filled_quantity(self, perm_id: int) -> Decimal:
        return sum((fill.quantity for fill in self._fills_under(perm_id)), Decimal())

    def _fills_under(self, perm_id: int) -> list[Execution]:
        return [self._fills[key][1] for key in self._fills_of.get(perm_id, ())]

    def _put(self, key: Key, order: BrokerOrder) -> BrokerOrder:
        """Keep `order`, which bears the time of what was known of it, and tell of it if that is news."""
        self._touched[key] = next(self._count)
        known = self._orders.get(key)
        if order == known:
            return known
        now = self._clock.now()
        order = replace(order, updated_at=now)
        self._orders[key] = order
        if not order.is_working:
            self._forget_oldest_finished()
        self._emit(BrokerEvent(kind=BrokerEventKind.ORDER_CHANGED, at=now, order=order))
        return order

    def _forget_oldest_finished(self) -> None:
        if len(self._orders) <= FINISHED_ORDERS_KEPT:
            return
        finished = [key for key, order in self._orders.items() if not order.is_working]
        finished.sort(key=self._touched.__getitem__)  # one that worked for long may have ended just now
        for key in finished[: max(0, len(finished) - FINISHED_ORDERS_KEPT)]:
            del self._orders[key], self._touched[key]
            self._echoes.pop(key, None)
