"""A pytest plugin that disables one check of the policy: `-p scripts.mutations.plugin --without-check NAME`.

Nothing in the product knows of it. The rule keeps its place and what it observes; it only has no objection any more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.checks import Check
from ibkr_mcp_server.safety.decision import PASSED, Findings
from ibkr_mcp_server.safety.policy import Policy
from ibkr_mcp_server.safety.snapshot import Snapshot
from ibkr_mcp_server.settings.model import Settings


@dataclass(frozen=True, kw_only=True)
class WithoutObjection:
    """Reviews as `check` does, and lets everything pass in silence."""

    check: Check

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        try:
            return self.check.review(operation, seen)._replace(problems=(), warnings=())
        except Exception:  # a check that fails to run refuses, and this one must not
            return PASSED


def disable(name: str) -> None:
    """Every policy made from now on has no objection by rule `name`.

    Raises:
        ValueError: no policy has a rule of that name, so the run would prove nothing.
    """
    build = Policy.__init__
    table = Policy(Settings()).table
    if not any(rule.name == name for rules in table.values() for rule in rules):
        raise ValueError(f"The policy has no rule {name!r}.")

    def without(self: Policy, *arguments: Any, **named: Any) -> None:  # whatever the policy is made from
        build(self, *arguments, **named)
        self.table = {
            kind: tuple(
                replace(rule, check=WithoutObjection(check=rule.check)) if rule.name == name else rule for rule in rules
            )
            for kind, rules in self.table.items()
        }

    Policy.__init__ = without  # type: ignore[method-assign]  # this process only tests, and ends after it


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--without-check", metavar="RULE", help="disable this rule of safety/policy.py")


def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--without-check")
    if name is not None:
        try:
            disable(name)
        except ValueError as error:
            raise pytest.UsageError(str(error)) from error
