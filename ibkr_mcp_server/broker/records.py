"""Reading the broker's own records into the book: orders, fills, holdings, balances."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ibkr_mcp_server.broker import translate
from ibkr_mcp_server.broker.book import Book, Key
from ibkr_mcp_server.broker.library import ib_async
from ibkr_mcp_server.broker.session import Session
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.accounts import AccountSummary, Position
from ibkr_mcp_server.domain.orders import BrokerOrder, Execution
from ibkr_mcp_server.errors import Unavailable


class Records:
    """The reads of one connection that answer from the broker, never from memory."""

    def __init__(self, session: Session, *, book: Book, clock: Clock) -> None:
        self._session = session
        self._book = book
        self._clock = clock
        self._valued_account = ""
        self._valuing = asyncio.Lock()
        self._summing = asyncio.Lock()
        """The broker refuses a third summary at once (322), and several jobs ask when the link comes up."""

    async def synchronise(self, accounts: Sequence[str]) -> None:
        """Bring the book in agreement with the broker, before anything else is asked or sent.

        Executions come last: they are credited to orders that are known by then.
        """
        await self._read_positions()
        await self._subscribe_to_values(accounts[0])
        mark, listed = await self._list_open_orders()
        await self.completed_orders()
        await self.executions()
        await self._close_missing(listed, mark)

    async def open_orders(self) -> list[BrokerOrder]:
        """Working orders of all clients; one that has gone since is looked up among the finished ones."""
        mark, listed = await self._list_open_orders()
        if self._book.missing(listed, mark):
            await self.completed_orders()
            await self._close_missing(listed, mark)
        # What the broker spoke of since the list was asked for is newer than the list.
        return self._book.working_orders()

    async def _close_missing(self, listed: Sequence[Key], mark: int) -> None:
        """Orders in neither list have ended; two lists in a row must lack them, for a row may be lost."""
        if self._book.missing(listed, mark):
            _, again = await self._list_open_orders()
            self._book.close_missing([*listed, *again], mark)

    async def completed_orders(self) -> list[BrokerOrder]:
        rows = await self._session.unnumbered(
            "completed orders", lambda: self._session.client.reqCompletedOrders(False)
        )
        return [
            self._book.completed(
                translate.completed_order(
                    contract,
                    held,
                    state,
                    instrument=self._book.instrument(contract.conId),
                    average_fill_price=self._book.average_fill_price(held.permId),
                    now=self._clock.now(),
                )
            )
            for contract, held, state in rows
        ]

    async def executions(self) -> list[Execution]:
        everything = ib_async.ExecutionFilter()
        ids = await self._session.numbered(
            "executions", lambda req_id: self._session.client.reqExecutions(req_id, everything)
        )
        fills = (self._book.execution(execution_id) for execution_id in dict.fromkeys(ids))
        return [fill for fill in fills if fill is not None]

    async def positions(self, account: str | None) -> list[Position]:
        """Holdings, with prices for the account that was asked for last: the broker values one account at a time."""
        async with self._session.bounded("positions", sent=True), self._valuing:
            if account is not None and account != self._valued_account:
                await self._subscribe_to_values(account)
            held = await self._read_positions()
        return [position for position in held if account in (None, position.account)]

    async def account_summary(self, account: str) -> AccountSummary:
        client = self._session.client
        async with self._session.bounded("the account summary", sent=True), self._summing:
            rows: list[translate.SummaryRow] = await self._session.numbered(
                "the account summary",
                lambda req_id: client.reqAccountSummary(req_id, "All", translate.SUMMARY_TAGS),
                cancel=client.cancelAccountSummary,
            )
        if not any(row.account == account for row in rows):
            raise Unavailable(
                "ACCOUNT_NOT_SERVED",
                f"The broker sent no balances for account {account}.",
                next_step="Name one of the accounts in the connection status.",
            )
        now = self._clock.now()
        for told in {row.account for row in rows}:
            self._book.balanced(translate.account_summary(told, rows, now))
        return translate.account_summary(account, rows, now)

    async def verify_accounts(self) -> None:
        await self._session.unnumbered("managed accounts", self._session.client.reqManagedAccts)

    async def _list_open_orders(self) -> tuple[int, list[Key]]:
        mark = self._book.mark()
        return mark, await self._session.unnumbered("open orders", self._session.client.reqAllOpenOrders)

    async def _read_positions(self) -> list[Position]:
        rows = await self._session.unnumbered("positions", self._session.client.reqPositions)
        return self._book.all_positions(rows)

    async def _subscribe_to_values(self, account: str) -> None:
        self._book.forget_values()
        self._valued_account = ""
        await self._session.unnumbered("account updates", lambda: self._session.client.reqAccountUpdates(True, account))
        self._valued_account = account
