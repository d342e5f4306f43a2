"""Profits from fills, streaks and rates, and the triggers that count."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from ibkr_mcp_server.safety.round_trips import book_of, losses_in_a_row, win_rate_pct
from ibkr_mcp_server.safety.triggers.base import Level, Metrics, StrategyFigures
from ibkr_mcp_server.safety.triggers.table import strategy_triggers_of, triggers_of
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.store.trades import Trade
from tests.stores import NOON

SETTINGS = load_settings(environ={})


class Fills:
    """Fills one after the other."""

    def __init__(self) -> None:
        self.told: list[Trade] = []

    def fill(self, side: str, quantity: float, price: float, *, order: str = "", **more: Any) -> None:
        number = len(self.told)
        values: dict[str, Any] = {
            "fill": f"f{number}",
            "revision": 1,
            "account": "DU1",
            "strategy": "claude",
            "order_key": order or f"o{number}",
            "con_id": 1,
            "symbol": "AAPL",
            "sec_type": "STK",
            "currency": "USD",
            "multiplier": Decimal(1),
            "commission": Decimal(0),
            "commission_currency": "USD",
            "executed_at": NOON + timedelta(minutes=number),
        }
        told = {"side": side, "quantity": Decimal(str(quantity)), "price": Decimal(str(price))}
        self.told.append(Trade(**{**values, **told, **more}))

    def trips(self, *, by_strategy: bool = True) -> list[Decimal]:
        rates = {"USD": Decimal(1), "EUR": Decimal("1.1")}
        return [trip.profit for trip in book_of(self.told, rates.__getitem__, by_strategy=by_strategy).trips]


def test_first_in_first_out_with_the_fees_of_both_sides() -> None:
    """LED-10."""
    fills = Fills()
    fills.fill("BUY", 10, 100, commission=Decimal(1))
    fills.fill("BUY", 10, 110, commission=Decimal(1))
    fills.fill("SELL", 15, 120, commission=Decimal(3))
    assert fills.trips() == [10 * 20 + 5 * 10 - Decimal(1) - Decimal("0.5") - Decimal(3)]


def test_shorts_currencies_and_multipliers_count_and_the_parts_of_an_order_are_one_trip() -> None:
    """T-55."""
    fills = Fills()
    fills.fill("SELL", 2, 50, currency="EUR", multiplier=Decimal(100))
    fills.fill("BUY", 1, 40, currency="EUR", multiplier=Decimal(100), order="cover")
    fills.fill("BUY", 1, 60, currency="EUR", multiplier=Decimal(100), order="cover")
    assert fills.trips() == [Decimal(0)]
    fills.fill("BUY", 1, 60, currency="EUR", multiplier=Decimal(100))
    fills.fill("SELL", 2, 70, currency="EUR", multiplier=Decimal(100))  # closes one, opens one
    assert fills.trips() == [Decimal(0), Decimal("1100.0")]


def test_what_another_agent_opened_is_closed_for_the_account_and_for_neither_agent() -> None:
    fills = Fills()
    fills.fill("BUY", 1, 100)
    fills.fill("SELL", 1, 90, strategy="another")
    assert fills.trips() == []
    assert fills.trips(by_strategy=False) == [Decimal(-10)]


def test_a_win_ends_the_streak_and_break_even_leaves_it() -> None:
    """T-01."""
    fills = Fills()
    for price in (90, 90, 100, 90):
        fills.fill("BUY", 1, 100)
        fills.fill("SELL", 1, price)
    book = book_of(fills.told, lambda _: Decimal(1), by_strategy=True)
    assert losses_in_a_row(book.trips) == 3
    assert losses_in_a_row(()) == 0
    fills.fill("BUY", 1, 100)
    fills.fill("SELL", 1, 101)
    book = book_of(fills.told, lambda _: Decimal(1), by_strategy=True)
    assert losses_in_a_row(book.trips) == 0
    assert win_rate_pct(book.trips, at_least=6) is None
    assert win_rate_pct(book.trips, at_least=5) == 20


def levels(metrics: Metrics) -> dict[str, str]:
    readings = [found for each in triggers_of(SETTINGS) for found in each.read(metrics)]
    readings += [found for each in strategy_triggers_of(SETTINGS) for found in each.read(metrics)]
    return {found.trigger: found.level.name for found in readings if found.level is not Level.NONE}


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"losses_in_a_row": 6}, {}),
        ({"losses_in_a_row": 7}, {"CB-14": "WARN"}),
        ({"losses_in_a_row": 10}, {"CB-14": "PAUSE"}),
        ({"failed_operations": 3, "operations": 19}, {}),
        ({"failed_operations": 2, "operations": 20}, {"CB-20": "WARN"}),
        ({"failed_operations": 3, "operations": 20}, {"CB-20": "PAUSE"}),
        ({"api_errors": 2}, {}),
        ({"api_errors": 3}, {"CB-21": "WARN"}),
        ({"api_errors": 4}, {"CB-21": "PAUSE"}),
        ({"api_errors": 11}, {"CB-21": "KILL"}),
        ({"order_failures_in_a_row": 3}, {"CB-22": "WARN"}),
        ({"order_failures_in_a_row": 5}, {"CB-22": "PAUSE"}),
        ({"order_failures_in_the_hour": 5}, {"CB-23": "WARN"}),
        ({"order_failures_in_the_hour": 6}, {"CB-23": "PAUSE"}),
        ({"trades_in_the_hour": 50}, {"CB-24": "WARN"}),
        ({"trades_in_the_hour": 51}, {"CB-24": "PAUSE"}),
        ({"trades_in_the_hour": 101}, {"CB-24": "KILL"}),
        ({"fees_pct": Decimal("0.26")}, {"CB-27": "WARN"}),
        ({"fees_pct": Decimal("0.51")}, {"CB-27": "PAUSE"}),
        ({"unknown_seconds": (14.0,)}, {}),
        ({"unknown_seconds": (15.0, 2.0)}, {"CB-29": "WARN"}),
        ({"unknown_seconds": (60.0, 20.0)}, {"CB-29": "PAUSE"}),
        ({"unknown_seconds": (61.0, 60.0)}, {"CB-29": "KILL"}),
        ({"unknown_seconds": (300.0,)}, {"CB-29": "KILL"}),
        ({"mismatch_seconds": 0.0}, {"CB-30": "PAUSE"}),
        ({"mismatch_seconds": 300.0}, {"CB-30": "KILL"}),
        ({"clock_offset_seconds": 1.0}, {}),
        ({"clock_offset_seconds": 1.5}, {"CB-31": "WARN"}),
        ({"clock_offset_seconds": 2.01}, {"CB-31": "PAUSE"}),
        ({"store_trouble": "full"}, {"CB-32": "KILL"}),
    ],
)
def test_each_count_has_its_levels(figures: dict[str, Any], expected: dict[str, str]) -> None:
    assert levels(Metrics(at=NOON, **figures)) == expected


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"drawdown_pct": Decimal(5)}, {}),
        ({"drawdown_pct": Decimal("5.1")}, {"ST-02": "PAUSE"}),
        ({"losses_in_a_row": 4}, {}),
        ({"losses_in_a_row": 5}, {"ST-03": "PAUSE"}),
        ({"win_rate_pct": Decimal(35)}, {}),
        ({"win_rate_pct": Decimal(34)}, {"CB-15": "WARN"}),
        ({"win_rate_pct": Decimal(29)}, {"CB-15": "PAUSE"}),
        ({"repeats": 10}, {}),
        ({"repeats": 11}, {"CB-33": "WARN"}),
        ({"repeats": 21}, {"CB-33": "PAUSE"}),
    ],
)
def test_each_figure_of_an_agent_has_its_levels(figures: dict[str, Any], expected: dict[str, str]) -> None:
    """CB-15, CB-33, ST-02, ST-03, ST-04."""
    assert levels(Metrics(at=NOON, strategies=(StrategyFigures(name="claude", **figures),))) == expected
