"""The account that is meant by whoever names none."""

from __future__ import annotations

from ibkr_mcp_server.broker.base import LinkStatus


class DefaultAccount:
    """The first that the broker lists, until another is chosen; one per process, for all its clients.

    A choice that the link no longer serves stays the default, so that orders without an account are refused instead of
    going to an account that nobody chose.
    """

    def __init__(self) -> None:
        self._chosen: str | None = None

    def choose(self, account: str) -> None:
        """Make `account` the default; it must have passed the account check."""
        self._chosen = account

    def on(self, link: LinkStatus) -> str | None:
        """None while nothing was chosen and the broker has listed no account."""
        return self._chosen or (link.accounts[0] if link.accounts else None)
