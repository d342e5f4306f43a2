"""Whatever is placed, changed, cancelled and moved, in whatever order and across restarts: the books stay true."""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.accounts import STARTING_CASH, Accounts, value_per_point
from ibkr_mcp_server.simulator.derivatives import list_derivatives
from ibkr_mcp_server.simulator.exchange import Exchange
from ibkr_mcp_server.simulator.instruments import Listing
from ibkr_mcp_server.simulator.journal import Journal
from ibkr_mcp_server.simulator.listings import default_catalogue
from ibkr_mcp_server.simulator.market import Market
from ibkr_mcp_server.simulator.order_rules import KINDS
from ibkr_mcp_server.simulator.order_terms import OrderTerms
from ibkr_mcp_server.simulator.orders import (
    Executed,
    Execution,
    Order,
    OrderEvent,
    OrderMessage,
    OrderUpdated,
    WhatIfAnswered,
)
from ibkr_mcp_server.simulator.requests import ContractQuery
from ibkr_mcp_server.simulator.sessions import Sessions

ACCOUNTS = ("DU1", "DU2")
CLIENTS = (0, 7)
LEVELS = st.integers(-8, 8)
QUANTITIES = st.sampled_from([1, 2, 5, 40])


class World:
    """A gateway without its socket, whose journal lies in `directory`."""

    def __init__(self, clock: ManualClock, directory: Path) -> None:
        self.catalogue = default_catalogue()
        sessions = Sessions(always_open=True)
        self.market = Market(self.catalogue, sessions, seed=1, started=clock.now())
        list_derivatives(self.catalogue, self.market)
        self.accounts = Accounts(ACCOUNTS, catalogue=self.catalogue, market=self.market)
        self.exchange = Exchange(
            clock=clock, catalogue=self.catalogue, sessions=sessions, market=self.market, accounts=self.accounts
        )
        self.journal = Journal(directory)
        self.exchange.keep_in(self.journal)

    def listing(self, symbol: str, sec_type: str, *, currency: str = "", right: str = "") -> Listing:
        """The one that expires last, if they expire."""
        found = self.catalogue.matching(symbol=symbol, sec_type=sec_type, currency=currency, right=right)
        return max(found, key=lambda row: row.last_trade_date)

    def memory(self) -> tuple[object, ...]:
        """All that a restart must find again."""
        counters = [self.exchange.next_valid_id(client_id) for client_id in CLIENTS]
        return self.exchange.orders(), self.exchange.executions(), self.accounts.by_code, counters


class ExchangeMachine(RuleBasedStateMachine):
    @initialize()
    def open_the_world(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="exchange-"))
        self.clock = ManualClock()
        self.lives = 0
        self.world = World(self.clock, self.root / "0")
        self.listings = [
            self.world.listing("AAPL", "STK"),
            self.world.listing("BARC", "STK"),
            self.world.listing("EUR", "CASH", currency="USD"),
            self.world.listing("ES", "FUT"),
            self.world.listing("AAPL", "OPT", right="C"),
        ]
        self.base = {row.con_id: self.world.market.quote(row.con_id) for row in self.listings}
        self.fills: list[tuple[Listing, Execution]] = []
        self.ended: dict[int, Order] = {}
        for listing in self.listings:
            self._show(listing, 0)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.journal.close()
            shutil.rmtree(self.root)

    # --- what happens ---

    @rule(random=st.randoms(use_true_random=True))
    def trade_for_a_while(self, random: Random) -> None:
        """A dense and evenly spread piece of trading; hypothesis by itself would place few orders, and alike."""
        for _ in range(25):
            act = random.choice([self._place_one, self._place_one, self._change_one, self._move_one])
            act(random)

    def _change_one(self, random: Random) -> None:
        pick = random.randint(0, 30)
        if random.random() < 0.5:
            self.cancel(pick)
        else:
            self.modify(pick, random.randint(-8, 8), random.choice([1, 2, 5, 40]), random.random() < 0.8)

    def _move_one(self, random: Random) -> None:
        self.move_price(random.randint(0, 4), random.randint(-8, 8))
        self.let_time_pass(1)

    def _place_one(self, random: Random) -> None:
        exchange, listing, client = self.world.exchange, random.choice(self.listings), random.choice(CLIENTS)
        parents = [order.order_id for order in exchange.orders() if order.client_id == client]
        # Half of the orders are of the kinds that soon trade, so that there is something to be true about.
        kind = random.choice([random.choice(["MKT", "LMT", "STP"]), random.choice(sorted(KINDS))])
        trails = KINDS[kind].trigger == "trail"
        offset = listing.min_tick * 20
        group = random.choice(["", "", "", "one", "two"])
        terms = OrderTerms(
            action=random.choice(["BUY", "SELL"]),
            quantity=Decimal(random.choice([1, 2, 5, 40]) * (20_000 if listing.sec_type == "CASH" else 1)),
            order_type=kind,
            limit_price=None if trails else self._price(listing, random.randint(-8, 8)),
            aux_price=offset if trails or kind == "REL" else self._price(listing, random.randint(-8, 8)),
            limit_price_offset=offset if kind == "TRAIL LIMIT" else None,
            tif=random.choice(["", "DAY", "GTC", "GTC", "GTC", random.choice(["IOC", "FOK", "OPG"])]),
            oca_group=group,
            oca_type=random.randint(0, 3) if group else 0,
            account=random.choice(ACCOUNTS),
            parent_id=random.choice(parents[-4:]) if parents and random.random() < 0.3 else 0,
            transmit=random.random() < 0.8,
        )
        self._take_in(exchange.place(client, exchange.next_valid_id(client), self._query(listing), terms))

    @rule(which=st.integers(0, 4), quantity=QUANTITIES)
    def ask_what_if(self, which: int, quantity: int) -> None:
        listing, before = self.listings[which], self.world.memory()
        terms = OrderTerms(
            action="SELL", quantity=Decimal(quantity * 20_000), order_type="MKT", account="DU1", what_if=True
        )
        [answer] = self.world.exchange.place(0, 4711, self._query(listing), terms)
        assert isinstance(answer, WhatIfAnswered)
        assert self.world.memory() == before

    @rule(pick=st.integers(0, 30), limit=LEVELS, quantity=QUANTITIES, transmit=st.booleans())
    def modify(self, pick: int, limit: int, quantity: int, transmit: bool) -> None:
        if order := self._any_order(pick):
            listing = self._listing_of(order)
            terms = OrderTerms(
                action=order.terms.action,
                quantity=Decimal(quantity * (20_000 if listing.sec_type == "CASH" else 1)),
                order_type=order.terms.order_type,
                limit_price=self._price(listing, limit) if order.terms.limit_price is not None else None,
                aux_price=order.terms.aux_price,
                limit_price_offset=order.terms.limit_price_offset,
                transmit=transmit,
            )
            told = self.world.exchange.place(order.client_id, order.order_id, self._query(listing), terms)
            self._take_in(told)
            after = self.world.exchange.order(order.client_id, order.order_id)
            assert after is not None
            assert (after.perm_id, after.con_id, after.tif) == (order.perm_id, order.con_id, order.tif)
            assert (after.oca_group, after.oca_type, after.parent_perm_id, after.account) == (
                *(order.oca_group, order.oca_type, order.parent_perm_id, order.account),
            )

    @rule(pick=st.integers(0, 30))
    def cancel(self, pick: int) -> None:
        if order := self._any_order(pick):
            told = self.world.exchange.cancel(order.client_id, order.order_id)
            self._take_in(told)
            codes = [event.code for event in told if isinstance(event, OrderMessage)]
            wanted = 10148 if order.is_done else 161 if order.status == "PendingCancel" else 202
            assert codes[:1] == [wanted] or (self.slow and wanted == 202 and not codes)

    slow = False

    @rule()
    def cancel_all(self) -> None:
        self._take_in(self.world.exchange.cancel_all())
        assert {order.status for order in self.world.exchange.open_orders()} <= {"PendingCancel"}

    @rule(seconds=st.sampled_from([0, 0, 3]))
    def let_cancels_take(self, seconds: int) -> None:
        self.slow = seconds > 0
        self.world.exchange.slow_cancels(seconds)

    @rule(largest=st.none() | st.integers(1, 10))
    def limit_fills(self, largest: int | None) -> None:
        self.world.exchange.limit_fills(None if largest is None else Decimal(largest))

    @rule(which=st.integers(0, 4), level=LEVELS)
    def move_price(self, which: int, level: int) -> None:
        self._show(self.listings[which], level)

    @rule(which=st.integers(0, 4), halted=st.booleans())
    def halt(self, which: int, halted: bool) -> None:
        self.world.market.halt(self.listings[which].con_id, halted)

    @rule(seconds=st.sampled_from([1, 1, 1, 5, 3600, 30_000, 90_000]))
    def let_time_pass(self, seconds: int) -> None:
        self.clock.step_wall(timedelta(seconds=seconds))
        self.world.market.advance_to(self.clock.now())
        self._take_in(self.world.exchange.tick())

    @rule(pick=st.integers(0, 30))
    def fill_now(self, pick: int) -> None:
        if order := self._any_order(pick):
            self._take_in(self.world.exchange.fill_now(order.client_id, order.order_id))

    @rule()
    def kill_and_restart(self) -> None:
        self.lives += 1
        directory = self.root / str(self.lives)
        shutil.copytree(self.root / str(self.lives - 1), directory)
        before = self.world.memory()
        self.world.journal.close()
        shown = {row.con_id: self.world.market.quote(row.con_id) for row in self.listings}
        self.world, self.slow = World(self.clock, directory), False
        assert self.world.memory() == before
        for con_id, quote in shown.items():
            if quote.bid is not None and quote.ask is not None:
                self.world.market.set_quote(con_id, bid=quote.bid, ask=quote.ask, last=quote.last)

    # --- what stays true ---

    @invariant()
    def no_order_is_filled_beyond_its_quantity(self) -> None:
        for order in self._orders():
            assert 0 <= order.filled <= order.quantity
            assert (order.status == "Filled") == (order.filled == order.quantity), order
            assert (order.done_at is not None) == order.is_done

    @invariant()
    def an_ended_order_never_changes(self) -> None:
        for order in self._orders():
            if order.is_done:
                assert self.ended.setdefault(order.perm_id, order) == order

    @invariant()
    def a_child_trades_only_after_its_parent(self) -> None:
        orders = {order.perm_id: order for order in self._orders()}
        for order in orders.values():
            parent = orders.get(order.parent_perm_id)
            assert parent is None or parent.is_done or not order.filled

    @invariant()
    def positions_are_what_was_traded(self) -> None:
        held: dict[tuple[str, int], Decimal] = {}
        for listing, fill in self.fills:
            key = fill.account, listing.con_id
            held[key] = held.get(key, Decimal(0)) + (fill.quantity if fill.is_buy else -fill.quantity)
        kept = {
            (code, position.con_id): position.quantity
            for code, account in self._accounts().by_code.items()
            for position in account.positions.values()
            if position.quantity
        }
        assert kept == {key: quantity for key, quantity in held.items() if quantity}

    @invariant()
    def cash_is_what_was_paid(self) -> None:
        """A security is paid for; of a future only what it has lost, and is settled, has left the account."""
        expected: dict[tuple[str, str], Decimal] = {(code, "USD"): STARTING_CASH for code in ACCOUNTS}

        def pay(code: str, currency: str, amount: Decimal) -> None:
            expected[code, currency] = expected.get((code, currency), Decimal(0)) - amount

        for listing, fill in self.fills:
            signed = fill.quantity if fill.is_buy else -fill.quantity
            pay(fill.account, listing.currency, signed * fill.price * value_per_point(listing))
            pay(fill.account, fill.commission_currency, fill.commission)
            if listing.sec_type == "CASH":
                pay(fill.account, listing.symbol, -signed)
        for code, account in self._accounts().by_code.items():
            for position in account.positions.values():
                pay(code, self._listing(position.con_id).currency, -position.settled_value)
            for currency in {*account.cash, *(name for owner, name in expected if owner == code)}:
                found, wanted = account.cash.get(currency, Decimal(0)), expected.get((code, currency), Decimal(0))
                assert abs(found - wanted) < Decimal("1e-9"), (code, currency, found, wanted)

    @invariant()
    def every_account_can_be_told(self) -> None:
        for code in ACCOUNTS if hasattr(self, "world") else ():
            assert self._accounts().values(code)

    # --- helpers ---

    def _orders(self) -> list[Order]:
        return self.world.exchange.orders() if hasattr(self, "world") else []

    def _accounts(self) -> Accounts:
        return self.world.accounts

    def _any_order(self, pick: int) -> Order | None:
        orders = self._orders()
        return orders[pick % len(orders)] if orders else None

    def _listing(self, con_id: int) -> Listing:
        return next(row for row in self.listings if row.con_id == con_id)

    def _listing_of(self, order: Order) -> Listing:
        return self._listing(order.con_id)

    def _query(self, listing: Listing) -> ContractQuery:
        return ContractQuery(con_id=listing.con_id, exchange=listing.exchange)

    def _price(self, listing: Listing, level: int) -> Decimal:
        """So many steps of twenty ticks away from where the instrument began."""
        base = self.base[listing.con_id].bid
        assert base is not None
        return max(base + level * 20 * listing.min_tick, listing.min_tick)

    def _show(self, listing: Listing, level: int) -> None:
        bid = self._price(listing, level)
        self.world.market.set_quote(listing.con_id, bid=bid, ask=bid + listing.min_tick * 2, last=bid)

    def _take_in(self, events: list[OrderEvent]) -> None:
        for event in events:
            if isinstance(event, Executed):
                self.fills.append((self._listing(event.execution.con_id), event.execution))
            if isinstance(event, OrderUpdated) and event.order.perm_id in self.ended:
                raise AssertionError(f"an ended order was told anew: {event.order}")
        assert len({fill.exec_id for _, fill in self.fills}) == len(self.fills)


ExchangeMachine.TestCase.settings = settings(
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # to shrink so long a story takes minutes
    max_examples=10,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestExchange = ExchangeMachine.TestCase
