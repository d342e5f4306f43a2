"""Closing positions: one attempt for each, sized by the broker's word, capped, never across zero (KS-14, T-25).

An attempt takes away what would close the position as well (stops, take-profits), sends one capped market order for
what is left, and cancels what of it has not traded in time; the next attempt begins from the broker's word again. So
nothing is ever closed twice. Protection that was taken from a position that could not be closed is put back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from ibkr_mcp_server.domain.accounts import Position
from ibkr_mcp_server.domain.instruments import Instrument, InstrumentQuery
from ibkr_mcp_server.domain.operations import COORDINATOR, CloseDraft, Operation, OperationClass, OrderDraft
from ibkr_mcp_server.domain.orders import STOP_TYPES, BrokerOrder, Order, OrderType, Side, TimeInForce
from ibkr_mcp_server.domain.quotes import Quote
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.entries import cancel_one
from ibkr_mcp_server.operations.orders import send_order
from ibkr_mcp_server.operations.safe_operation import Answer, OperationFailed
from ibkr_mcp_server.safety import valuation
from ibkr_mcp_server.safety.decision import OperationRefused
from ibkr_mcp_server.safety.policy import trading_gates
from ibkr_mcp_server.safety.snapshot import Observed, Recorded, Snapshot
from ibkr_mcp_server.safety.state import EffectiveState
from ibkr_mcp_server.waits import first_of

FILL_SECONDS = 5.0
"""How long a capped market order may take to trade before it is cancelled and sent anew at the newest price."""
CANCEL_SECONDS = 5.0

_PRICES = ("stop_price", "limit_price", "trailing_amount", "trailing_percent", "limit_offset")


@dataclass(frozen=True, kw_only=True)
class Left:
    """A position that is still open, and why."""

    con_id: int
    account: str
    label: str
    quantity: str
    """As the attempt found it."""
    reason: str
    opens_at: datetime | None = None
    """When its market opens, if that is what it waits for."""


Protection = dict[str, Any]
"""A stop that was taken away, as JSON: enough to place it again."""


class Closer:
    """Makes attempts, and remembers the protection that they took away."""

    def __init__(
        self, desk: Desk, protection: Sequence[Protection], keep: Callable[[list[Protection]], Awaitable[None]]
    ) -> None:
        """`protection` is what an earlier run took away; `keep` makes it durable."""
        self._desk = desk
        self._keep = keep
        self.protection = list(protection)

    async def attempt(self) -> tuple[Left, ...]:
        """Try once to close every position of every account; what could not be closed.

        Raises:
            ProductError: the broker does not tell the positions.
        """
        held = [position for position in await self._desk.broker.positions() if position.quantity]
        outcomes = await asyncio.gather(*(self._attempt(position) for position in held))
        return tuple(left for left in outcomes if left is not None)

    async def _attempt(self, held: Position) -> Left | None:
        def left(reason: str, opens_at: datetime | None = None) -> Left:
            return Left(
                con_id=held.instrument.con_id,
                account=held.account,
                label=held.instrument.label,
                quantity=f"{held.quantity:f}",
                reason=reason,
                opens_at=opens_at,
            )

        try:
            instrument = await self._desk.broker.resolve(_query(held.instrument))
            now = self._desk.clock.now()
            if not instrument.in_regular_hours(now):
                return left("It is outside its regular hours.", instrument.next_regular_start(now))
            if (reason := self._shut(held, instrument)) is not None:
                return left(reason)
            if (reason := await self._clear_the_way(held, instrument)) is not None:
                return left(reason)
            order = await self._close(held)
        except OperationRefused as refused:
            return left(str(refused))
        except OperationFailed as failed:
            return left(str(failed.error))
        except ProductError as error:
            return left(str(error))
        if order is None:
            return left("The server runs dry (IBKR_DRY_RUN): nothing is sent.")
        if order.remaining or order.order.quantity < abs(held.quantity):
            return left(f"{order.filled:f} of {abs(held.quantity):f} were closed. {order.last_message}".strip())
        return None

    def _shut(self, held: Position, instrument: Instrument) -> str | None:
        """Why the configuration lets nothing be closed at the market; then no protection is taken away either."""
        settings = self._desk.settings
        if settings.dry_run:
            return "The server runs dry (IBKR_DRY_RUN): nothing is sent."
        if OrderType.MKT not in settings.allowed_order_types:
            return "Market orders are not allowed (IBKR_ALLOWED_ORDER_TYPES)."
        order = Order(
            instrument=instrument,
            account=held.account,
            side=_closing_side(held.quantity),
            quantity=abs(held.quantity),
            order_type=OrderType.MKT,
        )
        seen = Snapshot(
            observed=Observed(taken_at=self._desk.clock.now(), order=order), recorded=Recorded(state=EffectiveState())
        )
        operation = _placing(CloseDraft(query=_query(instrument)), {})
        found = trading_gates(settings).review(operation, seen).problems
        return " ".join(problem.message for problem in found) or None

    async def _clear_the_way(self, held: Position, instrument: Instrument) -> str | None:
        """Take away what would close the position besides; why that cannot be done now, or None."""
        side = _closing_side(held.quantity)
        exits = [
            order
            for order in self._desk.broker.known_orders()
            if order.is_working
            and order.order.side is side
            and (order.order.instrument.con_id, order.order.account) == (instrument.con_id, held.account)
        ]
        if not exits:
            return None
        if await self._price(instrument, side) is None:
            return "It has no fresh price to close at, so its protection stays."
        strangers = [order for order in exits if order.client_id != self._desk.settings.client_id]
        ours = [order for order in exits if order not in strangers]
        await self._remember(ours)
        problems = [
            found.reason for found in await asyncio.gather(*(cancel_one(order, self._desk) for order in ours)) if found
        ]
        ended = [await self._ended(order.perm_id, CANCEL_SECONDS) for order in ours]
        if problems or any(order is None or order.is_working for order in ended):
            return " ".join(["An order that closes it as well could not be cancelled.", *problems])
        return None  # what others have working counts when the close is sized

    async def _price(self, instrument: Instrument, side: Side) -> Decimal | None:
        (answer,) = await self._desk.broker.quotes([instrument])
        quote = answer if isinstance(answer, Quote) else None
        max_age = float(self._desk.settings.quote_max_age_seconds)
        return valuation.reference_price(side, quote, self._desk.clock.now(), max_age)

    async def _close(self, held: Position) -> BrokerOrder | None:
        """Close what can be closed, at the market, capped; as it ended. None when nothing is ever sent."""
        draft = CloseDraft(query=_query(held.instrument), account=held.account, positions_are_fresh=True)
        answer = await self._place(draft, {"con_id": held.instrument.con_id, "close": f"{held.quantity:f}"})
        if answer.result is None:
            return None
        order = await self._ended(answer.result.perm_id, FILL_SECONDS) or answer.result
        if order.is_working:
            await cancel_one(order, self._desk)
            order = await self._ended(order.perm_id, CANCEL_SECONDS) or order
        return order

    async def _place(self, draft: CloseDraft | OrderDraft, arguments: dict[str, object]) -> Answer[BrokerOrder]:
        return await send_order(_placing(draft, arguments), self._desk)

    async def _ended(self, perm_id: int, seconds: float) -> BrokerOrder | None:
        """The order once it has ended, or as it stands after `seconds`."""
        news = asyncio.Event()
        stop = self._desk.broker.listen(lambda event: news.set())
        limit = asyncio.ensure_future(self._desk.clock.sleep(seconds))
        try:
            while True:
                news.clear()
                found = next((order for order in self._desk.broker.known_orders() if order.perm_id == perm_id), None)
                if (found is not None and not found.is_working) or limit.done():
                    return found
                await first_of(limit, news.wait())
        finally:
            limit.cancel()
            stop()

    # ---- protection

    async def _remember(self, orders: Sequence[BrokerOrder]) -> None:
        stops = [_as_protection(order) for order in orders if order.order.order_type in STOP_TYPES]
        if stops:
            known = {stop["perm_id"] for stop in self.protection}
            self.protection += [stop for stop in stops if stop["perm_id"] not in known]
            await self._keep(self.protection)

    async def protect_again(self) -> tuple[str, ...]:
        """Place the stops that were taken from positions that are still open; what could not be placed."""
        if not self.protection:
            return ()
        quantities = {
            (position.account, position.instrument.con_id): position
            for position in await self._desk.broker.positions()
            if position.quantity
        }
        problems, still = [], []
        for stop in self.protection:
            held = quantities.get((stop["account"], stop["con_id"]))
            if held is None or _closing_side(held.quantity) != stop["side"]:
                continue
            try:
                await self._place(_draft_of(stop, held), {"protects": stop["con_id"], "instead_of": stop["perm_id"]})
            except (OperationRefused, OperationFailed) as error:
                still.append(stop)
                problems.append(f"{held.instrument.label} is without its stop at {stop['stop_price']}: {error}")
        self.protection = still
        await self._keep(self.protection)
        return tuple(problems)


def _placing(draft: CloseDraft | OrderDraft, arguments: dict[str, object]) -> Operation:
    return Operation(
        tool="stop",
        operation_class=OperationClass.ORDER_PLACEMENT,
        actor=COORDINATOR,
        arguments=arguments,
        draft=draft,
    )


def _query(instrument: Instrument) -> InstrumentQuery:
    return InstrumentQuery(symbol=instrument.symbol, con_id=instrument.con_id)


def _closing_side(quantity: Decimal) -> Side:
    return Side.SELL if quantity > 0 else Side.BUY


def _as_protection(placed: BrokerOrder) -> Protection:
    order = placed.order
    return {
        "perm_id": placed.perm_id,
        "account": order.account,
        "con_id": order.instrument.con_id,
        "symbol": order.instrument.symbol,
        "side": str(order.side),
        "quantity": f"{placed.remaining:f}",
        "order_type": str(order.order_type),
        **{name: None if (price := getattr(order, name)) is None else f"{price:f}" for name in _PRICES},
        "time_in_force": str(order.time_in_force),
        "outside_rth": order.outside_rth,
    }


def _draft_of(stop: Protection, held: Position) -> OrderDraft:
    def price(name: str) -> Decimal | None:
        return None if stop[name] is None else Decimal(stop[name])

    return OrderDraft(
        query=InstrumentQuery(symbol=stop["symbol"], con_id=stop["con_id"]),
        side=stop["side"],
        quantity=min(Decimal(stop["quantity"]), abs(held.quantity)),
        order_type=OrderType(stop["order_type"]),
        stop_price=price("stop_price"),
        limit_price=price("limit_price"),
        trailing_amount=price("trailing_amount"),
        trailing_percent=price("trailing_percent"),
        limit_offset=price("limit_offset"),
        time_in_force=TimeInForce(stop["time_in_force"]),
        outside_rth=stop["outside_rth"],
        account=stop["account"],
    )
