"""What a stop is for: the whole account, one strategy, or one instrument (KS-03).

A scope is a word: `account`, `strategy:NAME`, where NAME is what the agent calls itself (`Actor.id`), or
`instrument:CON_ID`.
"""

from __future__ import annotations

ACCOUNT = "account"
_STRATEGY = "strategy:"
_INSTRUMENT = "instrument:"


def of_strategy(name: str) -> str:
    return _STRATEGY + name


def of_instrument(con_id: int) -> str:
    return f"{_INSTRUMENT}{con_id}"


def strategy_of(scope: str) -> str | None:
    """The strategy that `scope` is for; None when it is for something else."""
    return scope.removeprefix(_STRATEGY) if scope.startswith(_STRATEGY) else None


def instrument_of(scope: str) -> int | None:
    """The contract id that `scope` is for; None when it is for something else."""
    return int(scope.removeprefix(_INSTRUMENT)) if scope.startswith(_INSTRUMENT) else None


def parsed(text: str) -> str | None:
    """A scope as a person typed it; None when it is none."""
    number = text.removeprefix(_INSTRUMENT)
    if text.startswith(_INSTRUMENT):
        return of_instrument(int(number)) if number.isascii() and number.isdigit() and int(number) else None
    return text if text == ACCOUNT or (strategy_of(text) or "").strip() else None


def named(scope: str) -> str:
    """The scope in words, as the subject of a sentence."""
    if (name := strategy_of(scope)) is not None:
        return f"the strategy {name!r}"
    con_id = instrument_of(scope)
    return "all trading" if con_id is None else f"trading in the contract {con_id}"
