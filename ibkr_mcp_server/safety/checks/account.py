"""The account that would be traded is one that may be traded, as the broker says (ACC-01..ACC-07, ACC-10)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from ibkr_mcp_server.domain.accounts import has_accepted_prefix, masked
from ibkr_mcp_server.domain.operations import Operation, Problem
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import Findings, judged, refuses
from ibkr_mcp_server.safety.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class AccountCheck:
    """Every account on the link must be acceptable, and recently confirmed by the broker."""

    live: bool
    verify_prefix: bool
    accepted_prefixes: tuple[str, ...]
    live_accounts: tuple[str, ...]
    max_age_seconds: float

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        if seen.observed.account_problems:
            return refuses(*seen.observed.account_problems)
        link = seen.observed.link
        if link is None or link.accounts_verified_at is None or not link.accounts:
            return refuses(problem(Code.ACCOUNT_UNVERIFIED, "The broker has not listed the accounts of this link."))
        age = (seen.now - link.accounts_verified_at).total_seconds()
        if age > self.max_age_seconds:
            text = (
                f"The broker confirmed the accounts {age:.0f} s ago; at most {self.max_age_seconds:.0f} s are allowed."
            )
            limit = f"{self.max_age_seconds:.0f} s"
            return refuses(problem(Code.ACCOUNT_UNVERIFIED, text, observed=f"{age:.0f} s", limit=limit))
        found: list[Problem] = []
        strange = self._strange(link.accounts)
        if strange:
            names = ", ".join(masked(account) for account in strange)
            text = (
                f"The link serves {names}, which may not be traded: {self._rule}. All writes on this link are blocked."
            )
            found.append(problem(Code.ACCOUNT_NOT_ACCEPTED, text, observed=names, limit=self._rule))
        wanted = operation.account or (seen.order.account if seen.order is not None else None)
        if wanted is not None and wanted not in link.accounts:
            served = ", ".join(masked(account) for account in link.accounts)
            text = f"The broker does not list the account {masked(wanted)}; this link serves {served}."
            found.append(problem(Code.ACCOUNT_NOT_SERVED, text, observed=masked(wanted), limit=served))
        return judged(found, _shown(link.accounts), self._rule)

    def _strange(self, accounts: tuple[str, ...]) -> list[str]:
        """Those that may not be traded; the same accounts are asked about at every decision."""
        known = self._judged.get(accounts)
        if known is None:
            known = self._judged[accounts] = [account for account in accounts if not self.accepts(account)]
        return known

    @cached_property
    def _judged(self) -> dict[tuple[str, ...], list[str]]:
        return {}

    def accepts(self, account: str) -> bool:
        """Whether `account` may be traded under this configuration."""
        if self.live:
            return account in self.live_accounts
        return not self.verify_prefix or has_accepted_prefix(account, self.accepted_prefixes)

    @cached_property
    def _rule(self) -> str:
        if self.live:
            return "only accounts listed in IBKR_LIVE_ACCOUNTS are accepted"
        if self.verify_prefix:
            return f"only paper accounts ({', '.join(self.accepted_prefixes)} and then a digit) are accepted"
        return "any account of the simulator is accepted"


@lru_cache(maxsize=64)
def _shown(accounts: tuple[str, ...]) -> str:
    return ", ".join(map(masked, accounts))
