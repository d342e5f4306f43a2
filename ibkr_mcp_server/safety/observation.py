"""Looks at the world once for each operation: contract, account, order, quote, position.

Nothing is raised for what the broker says or fails to say: it becomes part of what was seen, and the checks judge it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

from ibkr_mcp_server.broker.base import BrokerReads, LinkStatus
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.accounts import AccountSummary, MarginPreview
from ibkr_mcp_server.domain.instruments import Instrument, InstrumentQuery
from ibkr_mcp_server.domain.money import round_to_grid
from ibkr_mcp_server.domain.operations import (
    BracketDraft,
    CloseDraft,
    ModificationDraft,
    Operation,
    OperationClass,
    OrderDraft,
    OrderReference,
    Problem,
    Withdrawal,
)
from ibkr_mcp_server.domain.order_types import CAPPED_AS
from ibkr_mcp_server.domain.orders import (
    CHANGEABLE,
    STOP_TYPES,
    BrokerOrder,
    Exits,
    Order,
    OrderType,
    Side,
    TimeInForce,
)
from ibkr_mcp_server.domain.quotes import Quote
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.safety import valuation
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.default_account import DefaultAccount
from ibkr_mcp_server.safety.exposure import (
    ZERO,
    Exposure,
    Holdings,
    action_of,
    exposure_of,
    is_protective,
    opens_more,
    reserved_by,
    weakens_protection,
)
from ibkr_mcp_server.safety.identity import carries
from ibkr_mcp_server.safety.plausible import PlausiblePrices
from ibkr_mcp_server.safety.portfolio import Portfolio, project
from ibkr_mcp_server.safety.snapshot import Observed, Recorded
from ibkr_mcp_server.safety.state import Action
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.store.intents import Intent

_SIDES = tuple(Side)
_DOLLARS = Decimal(1), "USD"


class _Begun(NamedTuple):
    """What is seen before the order is."""

    clock: Clock
    link: LinkStatus
    account_problems: tuple[Problem, ...]
    action: Action
    """What counts while the order is not known: the strictest that it may be."""

    def nothing(self, *problems: Problem) -> Observed:
        """There is no order to look at."""
        return Observed(
            taken_at=self.clock.now(),
            link=self.link,
            action=self.action,
            account_problems=self.account_problems,
            problems=problems,
        )


class Observer:
    """Gathers what the checks will look at."""

    def __init__(
        self, *, settings: Settings, broker: BrokerReads, clock: Clock, default_account: DefaultAccount
    ) -> None:
        self._default_account = default_account
        self._broker = broker
        self._clock = clock
        self._collar_pct = settings.price_collar_pct
        self._quote_max_age = float(settings.quote_max_age_seconds)
        self._plausible = PlausiblePrices(max_jump_pct=settings.max_quote_jump_pct)
        self._balances_max_age = float(settings.balances_max_age_seconds)
        self._previews_margin = settings.previews_margin
        self._patience_seconds = float(settings.decision_timeout_seconds) / 2
        self._asking = asyncio.Lock()
        self._asked_for_sector: set[int] = set()
        self._account_max_age = float(settings.account_verification_max_age_seconds)

    async def observe(self, operation: Operation) -> Observed:
        """See what `operation` is about; a write is seen at its strictest where something is missing."""
        draft = operation.draft
        if isinstance(draft, OrderDraft):
            seen = await self._placement(draft)
        elif isinstance(draft, BracketDraft):
            seen = await self._placement(draft.entry)
            seen = replace(seen, exits=None if seen.order is None else _exits(draft, seen.order))
        elif isinstance(draft, Withdrawal):
            seen = Observed(
                taken_at=self._clock.now(), link=self._broker.link, action=Action.CANCEL_ENTRY, current=draft.order
            )
        elif isinstance(draft, CloseDraft):
            seen = await self._closing(draft)
        elif isinstance(draft, ModificationDraft):
            seen = await self._modification(draft)
        elif isinstance(draft, OrderReference) and operation.operation_class is OperationClass.ORDER_CANCELLATION:
            seen = await self._cancellation(draft)
        elif operation.operation_class is OperationClass.ACCOUNT_MANAGEMENT:
            link, problems = await self._verified_link()
            if not link.is_up:
                text = f"The accounts cannot be verified: the link to the broker is {link.state}. {link.problem or ''}"
                problems = (problem(Code.BROKER_UNAVAILABLE, text.strip()),)
            seen = Observed(taken_at=self._clock.now(), link=link, action=Action.READ, account_problems=problems)
        else:
            sends = operation.operation_class.writes_orders and not operation.in_parts
            action = Action.OPEN if sends else Action.READ
            seen = Observed(taken_at=self._clock.now(), link=self._broker.link, action=action)
        return seen

    async def _placement(self, draft: OrderDraft) -> Observed:
        link, account_problems = await self._verified_link()
        begun = _Begun(self._clock, link, account_problems, Action.OPEN)
        if not link.is_up:
            return begun.nothing()
        try:
            instrument = await self._broker.resolve(draft.query)
        except ProductError as error:
            return begun.nothing(_as_problem(error))
        if draft.side not in _SIDES:
            text = f"The side is {draft.side!r}; it must be exactly BUY or SELL."
            return begun.nothing(problem(Code.INVALID_SIDE, text, observed=draft.side))
        account = draft.account or self._default_account.on(link) or ""
        return await self._judged(begun, _drafted(draft, instrument, account), None)

    async def _closing(self, draft: CloseDraft) -> Observed:
        """The order that closes a position, as the broker states it now, net of what is closing it already (T-25)."""
        link, account_problems = await self._verified_link()
        # What cannot be closed is no opening order either: `closes_only` lets nothing but reductions pass.
        begun = _Begun(self._clock, link, account_problems, Action.REDUCE)
        if not link.is_up:
            return begun.nothing()
        account = draft.account or self._default_account.on(link) or ""
        try:
            instrument = await self._broker.resolve(draft.query)
            known = self._broker.known_positions() if draft.positions_are_fresh else None
            positions = await self._broker.positions(account) if known is None else known
        except ProductError as error:
            return begun.nothing(_as_problem(error))
        exposure = exposure_of(
            instrument.con_id,
            account,
            positions,
            self._broker.known_orders(),
            unsettled=self._broker.unsettled(account).get(instrument.con_id, ZERO),
        )
        side = Side.BUY if exposure.position is not None and exposure.position < 0 else Side.SELL
        most = exposure.reducible(side)
        if not most:
            return begun.nothing(_nothing_to_close(instrument, exposure, side))
        order = Order(
            instrument=instrument,
            account=account,
            side=side,
            quantity=most if draft.quantity is None else draft.quantity,
            order_type=OrderType.MKT if draft.limit_price is None else OrderType.LMT,
            limit_price=draft.limit_price,
            outside_rth=draft.outside_rth,
        )
        return await self._judged(begun, order, None)

    async def _modification(self, draft: ModificationDraft) -> Observed:
        link, account_problems = await self._verified_link()
        begun = _Begun(self._clock, link, account_problems, Action.OPEN)
        if not link.is_up:
            return begun.nothing()
        current, problems = await self._find(draft.order)
        if current is None:
            return begun.nothing(*problems)
        return await self._judged(begun, _changed(current.order, draft), current)

    async def _cancellation(self, reference: OrderReference) -> Observed:
        begun = _Begun(self._clock, self._broker.link, (), Action.CANCEL_ENTRY)
        current, problems = await self._find(reference)
        if current is None:
            return begun.nothing(*problems)
        protects = is_protective(current, self._broker.known_positions(), self._broker.known_orders())
        action = Action.CANCEL_PROTECTIVE if protects else Action.CANCEL_ENTRY
        return replace(begun.nothing(), current=current, action=action)

    async def _judged(self, begun: _Begun, order: Order, current: BrokerOrder | None) -> Observed:
        """See the order with its price and value; its effect on the position is judged with the decision."""
        quote, (usd_per_unit, usd_source), balances = await self._figures(begun.link, order)
        now = self._clock.now()
        reference = valuation.reference_price(order.side, quote, now, self._quote_max_age)
        if order.order_type in CAPPED_AS and current is None and reference is not None:
            order = replace(order, cap_price=self._cap(order, reference))
        margin = await self._margin(order, current)
        worst = valuation.worst_case_price(order, quote, now, self._quote_max_age, self._collar_pct)
        return Observed(
            taken_at=self._clock.now(),
            link=begun.link,
            action=begun.action,
            account_problems=begun.account_problems,
            order=order,
            current=current,
            quote=quote,
            usd_per_unit=usd_per_unit,
            usd_source=usd_source,
            balances=balances,
            margin=margin,
            reference_price=reference,
            earlier_price=self._plausible.before(quote, reference, now),
            value_usd=valuation.worst_case_value_usd(order, worst, usd_per_unit),
        )

    def classified(self, operation: Operation, observed: Observed, holdings: Holdings, recorded: Recorded) -> Observed:
        """What `classified` says, and for an opening order the portfolio that would result."""

        def projected(order: Order, value_usd: Decimal | None) -> Portfolio:
            return project(
                order,
                value_usd=value_usd,
                usd_per_unit=observed.usd_per_unit,
                replaced=observed.current,
                balances=observed.balances,
                holdings=holdings,
                unresolved=recorded.unresolved,
                openings=recorded.openings,
                collar_pct=self._collar_pct,
                now=observed.taken_at,
                agent=operation.actor.id,
                shares=recorded.agent_positions,
                stop_loss=None if observed.exits is None else observed.exits.stop_loss,
            )

        return classified(observed, holdings, recorded.unresolved, projected)

    async def _figures(
        self, link: LinkStatus, order: Order
    ) -> tuple[Quote | None, tuple[Decimal | None, str | None], AccountSummary | None]:
        """Quote, exchange rate and balances for an order, asked for together where the broker has to be."""
        instrument, account = order.instrument, order.account
        known = None if self._asking.locked() else self._known_balances(account)
        if known is not None and account in link.accounts and instrument.currency == "USD":
            return await self._quote(instrument), _DOLLARS, known  # one to wait for: no tasks
        return await asyncio.gather(
            self._quote(instrument), self._usd(instrument.currency), self._balances(link, account)
        )

    async def _balances(self, link: LinkStatus, account: str) -> AccountSummary | None:
        """The balances that the broker told last; when they are too old, or holdings are without a price, it is asked.

        An order that reduces needs neither, so it does not wait long for them.
        """
        if account not in link.accounts:
            return None
        try:
            async with asyncio.timeout(self._patience_seconds), self._asking:
                known = self._fresh_balances(account) or await self._broker.account_summary(account)
                if self._lacks_prices(account):
                    await self._broker.positions(account)  # values come for one account at a time
                await self._learn_sectors(account)
                return known
        except (ProductError, TimeoutError):
            return self._broker.known_balances(account)

    def _known_balances(self, account: str) -> AccountSummary | None:
        """What `_balances` would say, where it would ask for nothing; else None."""
        known = self._fresh_balances(account)
        return None if known is None or self._lacks_prices(account) or self._without_sector(account) else known

    def _fresh_balances(self, account: str) -> AccountSummary | None:
        known = self._broker.known_balances(account)
        if known is None or (self._clock.now() - known.received_at).total_seconds() > self._balances_max_age:
            return None
        return known

    def _lacks_prices(self, account: str) -> bool:
        held = self._broker.known_positions() or ()
        return any(one.account == account and one.market_price is None for one in held)

    async def _margin(self, order: Order, current: BrokerOrder | None) -> MarginPreview | None:
        """The broker's preview of a new order that may open; one that surely reduces does not wait for it."""
        if not self._previews_margin or current is not None or order.account not in self._broker.link.accounts:
            return None
        con_id, unsettled = order.instrument.con_id, self._broker.unsettled(order.account)
        held = exposure_of(
            con_id,
            order.account,
            self._broker.known_positions(),
            self._broker.known_orders(),
            unsettled=unsettled.get(con_id, ZERO),
        )
        if action_of(order, held) is not Action.OPEN:
            return None
        try:
            async with asyncio.timeout(self._patience_seconds):
                return await self._broker.margin_preview(order)
        except (ProductError, TimeoutError):
            return None

    async def _learn_sectors(self, account: str) -> None:
        """Ask once for each contract whose sector nobody has told; what stays unknown counts as such (T-39)."""
        for instrument in self._without_sector(account):
            self._asked_for_sector.add(instrument.con_id)
            with suppress(ProductError):
                await self._broker.resolve(InstrumentQuery(symbol=instrument.symbol, con_id=instrument.con_id))

    def _without_sector(self, account: str) -> list[Instrument]:
        """Contracts whose sector nobody has told, and nobody was asked for."""
        held = [one.instrument for one in self._broker.known_positions() or () if one.account == account]
        working = [one.order.instrument for one in self._broker.known_orders() if one.is_working]
        known = self._broker.known_industries()
        unknown = {one.con_id: one for one in (*held, *working) if one.con_id not in known}
        return [one for con_id, one in unknown.items() if con_id not in self._asked_for_sector]

    def _cap(self, order: Order, reference: Decimal) -> Decimal | None:
        """The limit that a market order travels with: the collar, on the grid, never beyond it."""
        worst = valuation.collar(order.side, reference, self._collar_pct)
        increment = order.instrument.price_increment(worst)
        return None if not increment else round_to_grid(worst, increment, up=order.side is Side.SELL)

    async def _verified_link(self) -> tuple[LinkStatus, tuple[Problem, ...]]:
        """The link with accounts that the broker confirmed recently enough (ACC-07)."""
        link = self._broker.link
        if not link.is_up:
            return link, ()
        verified = link.accounts_verified_at
        if verified is not None and (self._clock.now() - verified).total_seconds() <= self._account_max_age:
            return link, ()
        try:
            return await self._broker.verify_accounts(), ()
        except ProductError as error:
            return self._broker.link, (
                problem(Code.ACCOUNT_UNVERIFIED, f"The accounts could not be verified: {error.message}"),
            )

    async def _find(self, reference: OrderReference) -> tuple[BrokerOrder | None, tuple[Problem, ...]]:
        """The order that the caller names: from what the broker told last, else by asking."""
        found = await self._named(reference)
        if isinstance(found, BrokerOrder) and reference.only_stops and found.order.order_type not in STOP_TYPES:
            text = f"The order {found.perm_id} is no stop order but {found.order.order_type}."
            return None, (problem(Code.NOT_A_STOP_ORDER, text, observed=found.order.order_type),)
        return (found, ()) if isinstance(found, BrokerOrder) else (None, (found,))

    async def _named(self, reference: OrderReference) -> BrokerOrder | Problem:
        found = _match(reference, self._broker.known_orders())
        if found is None:
            try:
                found = _match(reference, await self._broker.open_orders())
            except ProductError as error:
                return _as_problem(error)
        return found or problem(Code.ORDER_NOT_FOUND, f"The broker lists no order with {reference}.")

    async def _quote(self, instrument: Instrument) -> Quote | None:
        try:
            (answer,) = await self._broker.quotes([instrument])
        except ProductError:
            return None
        return answer if isinstance(answer, Quote) else None

    async def _usd(self, currency: str) -> tuple[Decimal | None, str | None]:
        """US dollars for one unit of `currency` at the worse (higher) side, and where the rate comes from."""
        if currency == "USD":
            return _DOLLARS
        for symbol, inverse in ((f"{currency}.USD", False), (f"USD.{currency}", True)):
            try:
                pair = await self._broker.resolve(InstrumentQuery(symbol=symbol))
            except ProductError:
                continue
            quote = await self._quote(pair)
            side = Side.SELL if inverse else Side.BUY
            price = valuation.reference_price(side, quote, self._clock.now(), self._quote_max_age)
            if price is not None:
                return (1 / price if inverse else price), f"{symbol} {'bid' if inverse else 'ask'} {price:f}"
        return None, None


def in_size(observed: Observed, quantity: Decimal) -> Observed:
    """What would be seen of the same order for another quantity; the broker's margin is taken to grow evenly."""
    order, margin = observed.order, observed.margin
    assert order is not None
    share = quantity / order.quantity
    if margin is not None and margin.maintenance_after is not None and margin.maintenance_before is not None:
        added = (margin.maintenance_after - margin.maintenance_before) * share
        margin = replace(margin, maintenance_after=margin.maintenance_before + added)
    value = None if observed.value_usd is None else observed.value_usd * share
    return replace(observed, order=replace(order, quantity=quantity), value_usd=value, margin=margin)


def _nothing_to_close(instrument: Instrument, exposure: Exposure, side: Side) -> Problem:
    name, held = instrument.label, exposure.position
    if not held:
        text = f"The broker reports no position in {name}."
        return problem(Code.NO_POSITION, text, observed=held)
    closing = exposure.working_sells if side is Side.SELL else exposure.working_buys
    text = (
        f"Of the {held:f} {name} that are held nothing is left to close: working {side} orders, stops included, may "
        f"trade {closing:f}."
    )
    return problem(Code.ALREADY_CLOSING, text, observed=f"{closing:f}", limit=f"{abs(held):f}")


def _drafted(draft: OrderDraft, instrument: Instrument, account: str) -> Order:
    """The canonical order of a draft whose side is one."""
    return Order(
        instrument=instrument,
        account=account,
        side=Side(draft.side),
        quantity=draft.quantity,
        order_type=draft.order_type,
        limit_price=draft.limit_price,
        stop_price=draft.stop_price,
        trailing_amount=draft.trailing_amount,
        trailing_percent=draft.trailing_percent,
        limit_offset=draft.limit_offset,
        time_in_force=draft.time_in_force,
        good_till_date=draft.good_till_date,
        outside_rth=draft.outside_rth,
    )


def _exits(draft: BracketDraft, entry: Order) -> Exits:
    """The orders that trade back what the entry trades, and nothing else."""
    stop_limit = draft.stop_limit_price
    back = Order(
        instrument=entry.instrument,
        account=entry.account,
        side=Side.SELL if entry.side is Side.BUY else Side.BUY,
        quantity=entry.quantity,
        order_type=OrderType.LMT,
        outside_rth=entry.outside_rth,
    )
    return Exits(
        take_profit=replace(back, limit_price=draft.take_profit_price),
        stop_loss=replace(
            back,
            order_type=OrderType.STP if stop_limit is None else OrderType.STP_LMT,
            stop_price=draft.stop_loss_price,
            limit_price=stop_limit,
            time_in_force=draft.stop_loss_tif,
        ),
    )


def _changed(before: Order, draft: ModificationDraft) -> Order:
    """The whole resulting order: what the draft does not name stays as it is."""
    asked = {
        name: getattr(draft, name)
        for name in (*CHANGEABLE, "quantity", "time_in_force", "outside_rth")
        if getattr(draft, name) is not None
    }
    if "trailing_amount" in asked and "trailing_percent" not in asked:
        asked["trailing_percent"] = None
    elif "trailing_percent" in asked and "trailing_amount" not in asked:
        asked["trailing_amount"] = None
    after = replace(before, **asked)
    return after if after.time_in_force is TimeInForce.GTD else replace(after, good_till_date=draft.good_till_date)


def classified(
    observed: Observed,
    holdings: Holdings,
    unresolved: Sequence[Intent],
    projected: Callable[[Order, Decimal | None], Portfolio] | None = None,
) -> Observed:
    """Add what the order does to the position, counting all that works and all that was decided on (T-23).

    `unresolved` must have been read no earlier than `holdings` were taken. `projected` makes of an opening order and
    its value the portfolio that would result.
    """
    order, current = observed.order, observed.current
    if order is None:
        return observed
    con_id = order.instrument.con_id
    exposure = exposure_of(
        con_id,
        order.account,
        holdings.positions,
        holdings.working,
        replaced=current,
        reserved=reserved_by(unresolved, holdings.orders, con_id, order.account),
        unsettled=holdings.unsettled.get(con_id, ZERO),
    )
    action = action_of(order, exposure, already_filled=current.filled if current is not None else ZERO)
    if current is not None and action is Action.OPEN and not opens_more(current.order, order):
        action = Action.REDUCE  # asks for less than what was approved before
    weakens = (
        current is not None
        and is_protective(current, holdings.positions, holdings.working)
        and weakens_protection(current.order, order)
    )
    if observed.exits is not None:
        action = Action.OPEN  # whatever its entry does, its exits can open as much again
    value = observed.value_usd
    if action is Action.OPEN and valuation.writes_option(order):
        value = valuation.with_obligation(order, value, observed.usd_per_unit)
    return replace(
        observed,
        exposure=exposure,
        action=action,
        value_usd=value,
        portfolio=observed.portfolio if projected is None or action is not Action.OPEN else projected(order, value),
        weakens_protection=weakens,
        working=tuple(
            working
            for working in holdings.working
            if working.order.account == order.account and (current is None or working.perm_id != current.perm_id)
        ),
    )


def _match(reference: OrderReference, orders: Sequence[BrokerOrder]) -> BrokerOrder | None:
    key = reference.client_request_id
    for order in orders:
        same_id = reference.perm_id is None or order.perm_id == reference.perm_id
        same_key = not key or carries(order.order.order_ref, key)
        if same_id and same_key:
            return order
    return None


def _as_problem(error: ProductError) -> Problem:
    """What the broker layer refused, in the chain's words; candidates and the like follow the sentence."""
    details = f" ({'; '.join(error.details)})" if error.details else ""
    try:
        code = Code(error.code)
    except ValueError:
        code = Code.BROKER_REJECTED
    return problem(
        code,
        error.message + details,
        next_step=error.next_step or None,
        retry_after_seconds=error.retry_after_seconds,
    )
