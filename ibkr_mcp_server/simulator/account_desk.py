"""The account family of requests: values, summaries, positions, profit (tws-wire guide, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ibkr_mcp_server.clock import NEW_YORK, Clock
from ibkr_mcp_server.simulator import replies
from ibkr_mcp_server.simulator.accounts import Accounts, AccountValue, HoldingValue
from ibkr_mcp_server.simulator.feeds import Client, SummaryFeed, ValuesFeed
from ibkr_mcp_server.simulator.order_rules import invalid
from ibkr_mcp_server.simulator.requests import (
    CancelAccountSummary,
    CancelAccountUpdatesMulti,
    CancelPnl,
    CancelPnlSingle,
    CancelPositions,
    CancelPositionsMulti,
    ReqAccountSummary,
    ReqAccountUpdates,
    ReqAccountUpdatesMulti,
    ReqPnl,
    ReqPnlSingle,
    ReqPositions,
    ReqPositionsMulti,
    Request,
)

ACCOUNT_SUMMARIES = 2


class AccountDesk:
    """Answers about accounts, and the pushes that keep the answers true."""

    def __init__(self, *, clock: Clock, accounts: Accounts) -> None:
        self._clock = clock
        self._accounts = accounts
        # The handlers' second parameter is the request type that is their key, which `Any` stands for.
        self.handlers: dict[type[Request], Callable[[Client, Any], None]] = {
            ReqAccountUpdates: self._account_updates,
            ReqAccountUpdatesMulti: self._account_updates_multi,
            CancelAccountUpdatesMulti: self._cancel_account_updates_multi,
            ReqAccountSummary: self._account_summary,
            CancelAccountSummary: self._cancel_account_summary,
            ReqPositions: self._positions,
            CancelPositions: self._cancel_positions,
            ReqPositionsMulti: self._positions_multi,
            CancelPositionsMulti: self._cancel_positions_multi,
            ReqPnl: self._pnl,
            CancelPnl: self._cancel_pnl,
            ReqPnlSingle: self._pnl_single,
            CancelPnlSingle: self._cancel_pnl_single,
        }

    def _account_updates(self, client: Client, request: ReqAccountUpdates) -> None:
        if not request.subscribe:
            client.account_updates = None
            return
        account = request.account or self._accounts.served[0]
        if not self._serves(client, -1, account):
            return
        client.account_updates = ValuesFeed(account=account)
        self._push_account_values(client, client.account_updates)
        for row in self._accounts.holdings(account):
            client.send(replies.portfolio_value(row, account))
        client.send(replies.account_time(self._time_of_day()))
        client.send(replies.account_download_end(account))

    def _push_account_values(self, client: Client, feed: ValuesFeed) -> None:
        for row in _news(feed, self._accounts.values(feed.account)):
            client.send(replies.account_value(row, feed.account))

    def _account_updates_multi(self, client: Client, request: ReqAccountUpdatesMulti) -> None:
        if request.account and not self._serves(client, request.req_id, request.account):
            return
        for account in self._accounts_of(request.account):
            feed = ValuesFeed(account=account, model_code=request.model_code)
            client.multi_updates[request.req_id, account] = feed
            for row in _news(feed, self._accounts.values(account)):
                client.send(replies.account_value_multi(request.req_id, row, account, request.model_code))
        client.send(replies.account_values_multi_end(request.req_id))

    def _cancel_account_updates_multi(self, client: Client, request: CancelAccountUpdatesMulti) -> None:
        _forget(client.multi_updates, request.req_id)

    def _account_summary(self, client: Client, request: ReqAccountSummary) -> None:
        if len(client.summaries) >= ACCOUNT_SUMMARIES or request.req_id in client.summaries:
            text = "Error processing request.-'bO' : cause - Maximum number of account summary requests exceeded"
            client.send(replies.error(request.req_id, 322, text))
            return
        feed = SummaryFeed(accounts=self._accounts.served, tags=request.tags)
        client.summaries[request.req_id] = feed
        for account in feed.accounts:
            self._push_summary(client, request.req_id, feed, account)
        client.send(replies.account_summary_end(request.req_id))

    def _push_summary(self, client: Client, req_id: int, feed: SummaryFeed, account: str) -> None:
        for row in self._summary_rows(account, feed.tags):
            key = account, row.tag, row.currency
            if feed.told.get(key) != row.value:
                feed.told[key] = row.value
                client.send(replies.account_summary(req_id, account, row))

    def _summary_rows(self, account: str, tags: tuple[str, ...]) -> list[AccountValue]:
        """The rows of the tags asked for, alphabetical; `$LEDGER` is the base currency's cash, `:ALL` every one's."""
        ledger = self._accounts.ledger(account)
        ledger_tags = {row.tag for row in ledger}
        rows = [row for row in self._accounts.values(account) if row.tag in tags and row.tag not in ledger_tags]
        currencies = {tag.partition(":")[2] or "BASE" for tag in tags if tag.startswith("$LEDGER")}
        rows += [row for row in ledger if "ALL" in currencies or row.currency in currencies]
        return sorted(rows, key=lambda row: row.tag)

    def _cancel_account_summary(self, client: Client, request: CancelAccountSummary) -> None:
        client.summaries.pop(request.req_id, None)

    def _positions(self, client: Client, request: ReqPositions) -> None:
        client.positions = True
        for account in self._accounts.served:
            for row in self._held(account):
                client.send(replies.position(row.listing, account, row.quantity, row.average_cost))
        client.send(replies.positions_end())

    def _cancel_positions(self, client: Client, request: CancelPositions) -> None:
        client.positions = False

    def _positions_multi(self, client: Client, request: ReqPositionsMulti) -> None:
        if request.account and not self._serves(client, request.req_id, request.account):
            return
        for account in self._accounts_of(request.account):
            feed = ValuesFeed(account=account, model_code=request.model_code)
            client.multi_positions[request.req_id, account] = feed
            for row in self._held(account):
                client.send(self._position_multi(request.req_id, row, account, request.model_code))
        client.send(replies.positions_multi_end(request.req_id))

    def _position_multi(self, req_id: int, row: HoldingValue, account: str, model_code: str) -> replies.Message:
        return replies.position_multi(req_id, row.listing, account, model_code, row.quantity, row.average_cost)

    def _cancel_positions_multi(self, client: Client, request: CancelPositionsMulti) -> None:
        _forget(client.multi_positions, request.req_id)

    def _pnl(self, client: Client, request: ReqPnl) -> None:
        if self._serves(client, request.req_id, request.account):
            client.pnl[request.req_id] = request.account
            self.push_pnl(client)

    def _cancel_pnl(self, client: Client, request: CancelPnl) -> None:
        client.pnl.pop(request.req_id, None)

    def _pnl_single(self, client: Client, request: ReqPnlSingle) -> None:
        if self._serves(client, request.req_id, request.account):
            client.pnl_single[request.req_id] = request.account, request.con_id
            self.push_pnl(client)

    def _cancel_pnl_single(self, client: Client, request: CancelPnlSingle) -> None:
        client.pnl_single.pop(request.req_id, None)

    def push_pnl(self, client: Client) -> None:
        for req_id, account in client.pnl.items():
            daily, unrealized = self._accounts.daily_pnl(account), self._accounts.unrealized_pnl(account)
            realized = self._accounts.realized_pnl(account)
            client.send(replies.pnl(req_id, daily=daily, unrealized=unrealized, realized=realized))
        for req_id, (account, con_id) in client.pnl_single.items():
            position = self._accounts.by_code[account].positions.get(con_id)
            row = self._accounts.holding(position) if position is not None else None
            client.send(replies.pnl_single(req_id, row))

    def position_changed(self, clients: Iterable[Client], account: str, con_id: int) -> None:
        if account not in self._accounts.served:
            return
        row = self._accounts.holding(self._accounts.by_code[account].positions[con_id])
        for client in clients:
            if client.positions:
                client.send(replies.position(row.listing, account, row.quantity, row.average_cost))
            for (req_id, _), multi in client.multi_positions.items():
                if multi.account == account:
                    client.send(self._position_multi(req_id, row, account, multi.model_code))
            feed = client.account_updates
            if feed is not None and feed.account == account:
                client.send(replies.portfolio_value(row, account))
            self.push_values(client, account)
            self.push_pnl(client)

    def push_values(self, client: Client, account: str) -> None:
        """Changed account values and summaries, to a client that subscribed to them."""
        feed = client.account_updates
        if feed is not None and feed.account == account:
            self._push_account_values(client, feed)
            client.send(replies.account_time(self._time_of_day()))
        for (req_id, _), multi in client.multi_updates.items():
            if multi.account == account:
                for row in _news(multi, self._accounts.values(account)):
                    client.send(replies.account_value_multi(req_id, row, account, multi.model_code))
        for req_id, summary in client.summaries.items():
            if account in summary.accounts:
                self._push_summary(client, req_id, summary, account)

    def _held(self, account: str) -> list[HoldingValue]:
        return [row for row in self._accounts.holdings(account) if row.quantity]

    def _accounts_of(self, account: str) -> tuple[str, ...]:
        return (account,) if account else self._accounts.served

    def _serves(self, client: Client, about: int, account: str) -> bool:
        if account in self._accounts.served:
            return True
        client.send(replies.error(about, 321, invalid(f"Invalid account code '{account}'").text))
        return False

    def _time_of_day(self) -> str:
        return f"{self._clock.now().astimezone(NEW_YORK):%H:%M}"


def _forget(feeds: dict[tuple[int, str], ValuesFeed], req_id: int) -> None:
    for key in [key for key in feeds if key[0] == req_id]:
        del feeds[key]


def _news(feed: ValuesFeed, rows: Iterable[AccountValue]) -> list[AccountValue]:
    """The rows that differ from what this subscriber was told."""
    news = []
    for row in rows:
        key = row.tag, row.currency
        if feed.told.get(key) != row.value:
            feed.told[key] = row.value
            news.append(row)
    return news
