"""Accounts: which there are, what they are worth, what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ibkr_mcp_server.broker.base import LinkStatus
from ibkr_mcp_server.domain.accounts import AccountSummary, Position
from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.errors import Refused, Unavailable
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.safe_operation import Access, Answer, safe_trading_operation
from ibkr_mcp_server.safety.codes import CODES, Code
from ibkr_mcp_server.safety.policy import account_check


@dataclass(frozen=True, kw_only=True)
class AccountEntry:
    """One account of the link, and whether it may be traded under this configuration."""

    account: str
    accepted: bool
    is_default: bool
    """Orders that name no account go here."""


async def connection_status(operation: Operation, desk: Desk) -> Answer[LinkStatus]:
    """Where the link to the broker stands; works without one."""

    async def act(access: Access) -> LinkStatus:
        return access.broker.link

    return await safe_trading_operation(operation, act, desk=desk)


async def accounts(operation: Operation, desk: Desk) -> Answer[Sequence[AccountEntry]]:
    """The accounts that the broker lists for this link."""

    async def act(access: Access) -> Sequence[AccountEntry]:
        link = _up(access)
        accepts = account_check(desk.settings).accepts
        default = desk.default_account.on(link)
        return [
            AccountEntry(account=account, accepted=accepts(account), is_default=account == default)
            for account in link.accounts
        ]

    return await safe_trading_operation(operation, act, desk=desk)


async def account_summary(operation: Operation, desk: Desk) -> Answer[AccountSummary]:
    """Balances of one account, the default account unless the operation names one."""

    async def act(access: Access) -> AccountSummary:
        return await access.broker.account_summary(chosen_account(operation, access, desk))

    return await safe_trading_operation(operation, act, desk=desk)


async def portfolio(operation: Operation, desk: Desk) -> Answer[Sequence[Position]]:
    """Holdings of one account, the default account unless the operation names one."""

    async def act(access: Access) -> Sequence[Position]:
        return await access.broker.positions(chosen_account(operation, access, desk))

    return await safe_trading_operation(operation, act, desk=desk)


def _up(access: Access) -> LinkStatus:
    link = access.broker.link
    if not link.accounts:
        raise Unavailable(
            Code.BROKER_UNAVAILABLE,
            f"The link to the broker is {link.state}: {link.problem or 'it has not listed its accounts yet'}.",
            next_step=CODES[Code.BROKER_UNAVAILABLE].remedy,
        )
    return link


def chosen_account(operation: Operation, access: Access, desk: Desk) -> str:
    """The account that a read is about: the one it names, if the link serves it, or else the default.

    Raises:
        Unavailable: the broker has not listed its accounts.
        Refused: it does not list the one that is named.
    """
    link = _up(access)
    account = operation.account or desk.default_account.on(link)
    if account is None or account not in link.accounts:
        raise Refused(
            Code.ACCOUNT_NOT_SERVED,
            f"The broker does not list the account {account} on this link.",
            next_step=CODES[Code.ACCOUNT_NOT_SERVED].remedy,
        )
    return account


@dataclass(frozen=True, kw_only=True)
class Switched:
    """The default account, now and before."""

    account: str
    previous: str
    accounts_verified_at: datetime | None


async def switch_account(operation: Operation, desk: Desk) -> Answer[Switched]:
    """Make the operation's account the one that later operations mean when they name none (ACC-11).

    The chain has verified it when this acts; what was remembered of contracts is forgotten with the old account.
    """

    async def act(access: Access) -> Switched:
        link = _up(access)
        previous, account = desk.default_account.on(link), operation.account
        assert account is not None
        assert previous is not None
        access.broker.forget_reference_data()
        desk.default_account.choose(account)
        return Switched(account=account, previous=previous, accounts_verified_at=link.accounts_verified_at)

    return await safe_trading_operation(operation, act, desk=desk)
