"""Who may do what (KS-19): a role is bound to a credential, and each deed has a least role that may do it.

Stopping is not in the table: at the local shell it needs no role at all (KS-18).
"""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """From the least to the most; each may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    SENIOR = "senior"
    RISK_MANAGER = "risk_manager"
    ADMIN = "admin"

    def reaches(self, least: Role) -> bool:
        order = list(Role)
        return order.index(self) >= order.index(least)


class Power(StrEnum):
    """What a person can be allowed to do."""

    LOOK = "look"
    DENY = "deny a request"
    HALT_STRATEGY = "halt a strategy"
    RESUME_STRATEGY = "resume a strategy"
    PROMOTE_STAGE = "promote a recovery stage"
    ACCEPT_FIGURES = "accept the broker's figures"
    CONFIRM_ORDER = "confirm an order"
    HALT_PORTFOLIO = "halt the portfolio"
    CLOSE_PORTFOLIO = "close the portfolio"
    RAISE_LIMIT = "raise a limit"
    RESET_BREAKER = "reset the circuit breaker"
    RESET = "reset the kill switch"
    MANAGE_OPERATORS = "manage the operators"


LEAST: dict[Power, Role] = {
    Power.LOOK: Role.VIEWER,
    Power.DENY: Role.OPERATOR,
    Power.HALT_STRATEGY: Role.OPERATOR,
    Power.RESUME_STRATEGY: Role.SENIOR,
    Power.PROMOTE_STAGE: Role.SENIOR,
    Power.ACCEPT_FIGURES: Role.SENIOR,
    Power.CONFIRM_ORDER: Role.SENIOR,
    Power.HALT_PORTFOLIO: Role.RISK_MANAGER,
    Power.CLOSE_PORTFOLIO: Role.RISK_MANAGER,
    Power.RAISE_LIMIT: Role.RISK_MANAGER,
    Power.RESET_BREAKER: Role.ADMIN,
    Power.RESET: Role.ADMIN,
    Power.MANAGE_OPERATORS: Role.ADMIN,
}
"""Power → the least role that has it."""


def may(role: Role, power: Power) -> bool:
    return role.reaches(LEAST[power])
