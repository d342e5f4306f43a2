"""From what a client sent to a tool's arguments, or to everything that is wrong with it at once (ORD-05)."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ibkr_mcp_server.domain.accounts import meant
from ibkr_mcp_server.domain.operations import Problem
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.tools.arguments import Arguments
from ibkr_mcp_server.tools.text import shown

MOST_PROBLEMS = 20
"""How many faults of one kind are told; a caller with more has other worries."""

CODE_OF_ARGUMENT = {
    "quantity": Code.INVALID_QUANTITY,
    "limit_price": Code.INVALID_PRICE,
    "stop_price": Code.INVALID_PRICE,
    "trailing_amount": Code.INVALID_PRICE,
    "trailing_percent": Code.INVALID_PRICE,
    "limit_offset": Code.INVALID_PRICE,
    "take_profit_price": Code.INVALID_PRICE,
    "stop_loss_price": Code.INVALID_PRICE,
    "stop_limit_price": Code.INVALID_PRICE,
    "good_till_date": Code.GOOD_TILL_DATE,
    "action": Code.INVALID_SIDE,
    "symbol": Code.INVALID_SYMBOL,
    "symbols": Code.INVALID_SYMBOL,
}
"""Faults in any other argument are INVALID_ARGUMENTS."""

A = TypeVar("A", bound=Arguments)


def with_whole_accounts(received: Mapping[str, object], accounts: Sequence[str]) -> dict[str, object]:
    """The arguments of a call, and of the order that it prepares, with each account named in full.

    An agent knows accounts as answers show them (LLM-10), and may name them so.
    """

    def whole(name: str, value: object) -> object:
        if name == "account" and isinstance(value, str):
            return meant(value, accounts)
        return with_whole_accounts(value, accounts) if isinstance(value, Mapping) else value

    return {name: whole(name, value) for name, value in received.items()}


def parse(kind: type[A], received: Mapping[str, object]) -> tuple[A | None, tuple[Problem, ...]]:
    """The arguments, or None and all problems. Null stands for an argument that was left out."""
    problems: list[Problem] = []
    given: dict[str, object] = {}
    unknown, other_names = [], kind.other_names()
    for name, value in received.items():
        own_name = other_names.get(name, name)
        if own_name not in kind.model_fields:
            unknown.append(name)
        elif value is None:
            continue
        elif own_name in given:
            names = ", ".join(other for other, own in other_names.items() if own == own_name)
            text = f"{own_name} is given twice, under two names ({names})."
            problems.append(problem(Code.INVALID_ARGUMENTS, text))
        else:
            given[own_name] = value
    if unknown:
        problems += _unknown(kind, unknown)
    if kind.one_of and not any(name in given for name in kind.one_of):
        text = f"Give {' or '.join(kind.one_of)}."
        problems.append(problem(Code.INVALID_ARGUMENTS, text))
    try:
        arguments = kind.model_validate(given)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        # An optional argument also fails to be null, which nobody asked it to be.
        told = [_problem(fault, given) for fault in faults if fault["type"] != "none_required"]
        problems += told[:MOST_PROBLEMS]
        return None, tuple(problems)
    return (None if problems else arguments), tuple(problems)


def forgiving(kind: type[A], received: Mapping[str, object]) -> tuple[A, tuple[Problem, ...]]:
    """Whatever of the arguments can be used, for a tool that must never fail for its arguments (KS-18)."""
    usable = {}
    for name, value in received.items():
        if parse(kind, {name: value})[0] is not None:
            usable[name] = value
    return kind.model_validate(usable), parse(kind, received)[1]


def _unknown(kind: type[Arguments], names: list[str]) -> Iterator[Problem]:
    allowed, other_names = ", ".join(kind.model_fields) or "none", kind.other_names()
    for name in names[:MOST_PROBLEMS]:
        close = difflib.get_close_matches(name[:64], [*kind.model_fields, *other_names], n=1)
        hint = f" Did you mean {other_names.get(close[0], close[0])}?" if close else ""
        text = f"There is no argument {shown(name)}.{hint} Allowed: {allowed}."
        yield problem(Code.UNKNOWN_ARGUMENT, text, observed=shown(name))


def _problem(fault: ErrorDetails, given: Mapping[str, object]) -> Problem:
    name = str(fault["loc"][0])
    if fault["type"] == "missing":
        code = Code.PRICE_MISSING if name.endswith("_price") else Code.INVALID_ARGUMENTS
        return problem(code, f"{name} is missing.", next_step=f"Give {name}.")
    code = CODE_OF_ARGUMENT.get(name, Code.INVALID_ARGUMENTS)
    value, place = given[name], name
    for key in fault["loc"][1:]:
        if isinstance(value, list) and isinstance(key, int):
            value, place = value[key], f"{place}[{key}]"
    must = fault["msg"].replace("Input should be", "must be")
    return problem(code, f"{place} {must}; it is {shown(value)}.", observed=shown(value))
