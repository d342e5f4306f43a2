"""Writes the world of a gateway (orders, fills, accounts, ids, where the market stands) to its journal, and back."""

from __future__ import annotations

import contextlib
from datetime import date

from ibkr_mcp_server.simulator.accounts import Account, Accounts
from ibkr_mcp_server.simulator.journal import Journal, Json, decode, encode
from ibkr_mcp_server.simulator.market import Market
from ibkr_mcp_server.simulator.order_book import OrderBook
from ibkr_mcp_server.simulator.orders import Execution, Order


class WorldKeeper:
    """Without a journal it only forgets what changed."""

    def __init__(self, *, book: OrderBook, accounts: Accounts, market: Market) -> None:
        self._book = book
        self._accounts = accounts
        self._market = market
        self._journal: Journal | None = None

    def keep_in(self, journal: Journal | None) -> None:
        """Take up the world that `journal` holds and write everything there from now on; `None` ends the writing."""
        self._journal = journal
        if journal is not None:
            self._restore(journal)

    def save(self, *, with_market: bool = False) -> None:
        """Write what changed since the last time; with it, on request, where the market stands."""
        book, accounts = self._book, self._accounts
        orders, book.changed_orders = book.changed_orders, set()
        fills, book.changed_executions = book.changed_executions, {}
        touched, accounts.touched = accounts.touched, set()
        if self._journal is None or not (orders or fills or touched or with_market):
            return
        transaction: dict[str, dict[str, Json]] = {
            "orders": {str(perm_id): encode(book.orders.get(perm_id)) for perm_id in sorted(orders)},
            "executions": {exec_id: encode(book.executions.get(exec_id)) for exec_id in fills},
            "accounts": {code: encode(accounts.by_code[code]) for code in sorted(touched)},
            "counters": self._counters(),
        }
        if with_market:
            transaction["market"] = {"state": self._market.state()}
        self._journal.append(transaction)
        if self._journal.wants_compaction:
            self._journal.compact(self._everything())

    def _counters(self) -> dict[str, Json]:
        return {
            "next_perm_id": self._book.next_perm_id,
            "next_ids": {str(client_id): number for client_id, number in self._book.next_ids.items()},
            "trading_day": self._book.trading_day.isoformat(),
        }

    def _everything(self) -> dict[str, dict[str, Json]]:
        return {
            "orders": {str(perm_id): encode(order) for perm_id, order in self._book.orders.items()},
            "executions": {exec_id: encode(fill) for exec_id, fill in self._book.executions.items()},
            "accounts": {code: encode(account) for code, account in self._accounts.by_code.items()},
            "counters": self._counters(),
            "market": {"state": self._market.state()},
        }

    def _restore(self, journal: Journal) -> None:
        book, state = self._book, journal.load()
        for row in state.get("orders", {}).values():
            book.remember(decode(Order, row))
        for row in state.get("executions", {}).values():
            execution = decode(Execution, row)
            book.executions[execution.exec_id] = execution
        for row in state.get("accounts", {}).values():
            account = decode(Account, row)
            self._accounts.restore(account)
            self._accounts.touched.discard(account.code)
        counters = state.get("counters", {})
        if counters:
            book.next_perm_id = counters["next_perm_id"]
            book.next_ids = {int(client_id): number for client_id, number in counters["next_ids"].items()}
            book.trading_day = date.fromisoformat(counters["trading_day"])
        if market := state.get("market"):
            # A gateway restarted with other trading hours keeps accounts and orders, but its prices begin anew.
            with contextlib.suppress(ValueError):
                self._market.restore(market["state"])
        self.save()
