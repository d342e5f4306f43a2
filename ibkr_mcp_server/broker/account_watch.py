"""The profit of each account, told by the broker about once a second for as long as a connection lasts.

A line that has said nothing for some seconds is asked for anew, because silence does not tell a quiet market from a
dead line: the broker restates the figures at once, or the line is dead and its figures grow old.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ibkr_mcp_server.broker import translate
from ibkr_mcp_server.broker.book import Book
from ibkr_mcp_server.broker.pacing import Lane, Pacer
from ibkr_mcp_server.broker.session import Session
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.accounts import AccountPnl

RENEWED_AFTER_SECONDS = 10.0


class AccountWatch:
    """The lines of one connection; the session tells it each update."""

    def __init__(self, session: Session, *, clock: Clock, pacer: Pacer, book: Book) -> None:
        self._session = session
        self._clock = clock
        self._pacer = pacer
        self._book = book
        self._lines: dict[int, str] = {}
        self._asked: dict[str, datetime] = {}

    async def open(self, accounts: Sequence[str]) -> None:
        """Ask for the profit of these accounts, and of no others any more; what is asked for already goes on."""
        if set(accounts) == set(self._lines.values()):
            return
        for req_id in list(self._lines):
            self._end(req_id)
        for account in accounts:
            await self._ask(account)

    async def renew(self) -> None:
        """Ask anew for what has been silent for long."""
        now = self._clock.now()
        for req_id, account in list(self._lines.items()):
            told = self._book.pnl(account)
            newest = max(filter(None, (self._asked[account], None if told is None else told.received_at)))
            if (now - newest).total_seconds() >= RENEWED_AFTER_SECONDS:
                self._end(req_id)
                await self._ask(account)

    def told(self, req_id: int, daily: float, unrealized: float, realized: float) -> bool:
        """An update; False when it is not of a line of ours."""
        account = self._lines.get(req_id)
        if account is None:
            return False
        self._book.profited(
            AccountPnl(
                account=account,
                received_at=self._clock.now(),
                daily=translate.number(daily),
                unrealized=translate.number(unrealized),
                realized=translate.number(realized),
            )
        )
        return True

    async def _ask(self, account: str) -> None:
        async with self._pacer.permit(Lane.READ):
            self._session.check_alive()
            req_id = self._session.next_id()
            self._lines[req_id], self._asked[account] = account, self._clock.now()
            self._session.client.reqPnL(req_id, account, "")

    def _end(self, req_id: int) -> None:
        del self._lines[req_id]
        self._session.end_subscription(self._session.client.cancelPnL, req_id)
