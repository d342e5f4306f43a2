"""How an intent follows the broker's word: to its true end, and never back to what was true before."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Connection

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.orders import BrokerOrder, OrderStatus
from ibkr_mcp_server.safety.settlement import follow
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.intents import Intent, IntentState
from tests.private_state import lay_tables
from tests.stores import an_intent
from tests.unit.safety import builders


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(lay_tables(tmp_path / "state" / "store.db"))
    yield database
    database.close()


def told(status: OrderStatus, filled: int = 0) -> BrokerOrder:
    quantity = Decimal(filled)
    return builders.broker_order(builders.order(), status=status, filled=quantity, remaining=10 - quantity)


def stands_at(database: Database, clock: ManualClock, state: IntentState) -> Intent:
    """A placement that was sent and came to this state."""
    intent = an_intent(clock)

    def work(connection: Connection) -> Intent:
        intents.reserve(connection, intent)
        intents.advance(connection, intent.intent_id, IntentState.SENT, now=clock.now())
        return intents.advance(connection, intent.intent_id, state, now=clock.now())

    return database.run_blocking(work)


@pytest.mark.parametrize("concluded", [IntentState.REJECTED, IntentState.EXPIRED])
def test_what_was_concluded_yields_to_the_newest_word_that_the_order_lives_and_to_no_other(
    database: Database, clock: ManualClock, concluded: IntentState
) -> None:
    intent = stands_at(database, clock, concluded)
    lives = told(OrderStatus.SUBMITTED)

    def followed(order: BrokerOrder, state: IntentState, *, is_newest: bool) -> IntentState:
        return database.run_blocking(
            lambda connection: follow(connection, intent, state, order, clock.now(), is_newest=is_newest)
        ).state

    assert followed(lives, IntentState.ACCEPTED, is_newest=False) is concluded
    ended = told(OrderStatus.CANCELLED)
    assert followed(ended, IntentState.CANCELLED, is_newest=True) is concluded
    assert followed(lives, IntentState.ACCEPTED, is_newest=True) is IntentState.ACCEPTED


def test_a_report_that_knows_of_fewer_fills_is_older_and_changes_nothing(
    database: Database, clock: ManualClock
) -> None:
    intent = stands_at(database, clock, IntentState.ACCEPTED)

    def followed(order: BrokerOrder, known: Intent) -> Intent:
        return database.run_blocking(
            lambda connection: follow(connection, known, IntentState.ACCEPTED, order, clock.now())
        )

    part = followed(told(OrderStatus.SUBMITTED, 4), intent)
    assert part.filled_quantity == 4
    assert followed(told(OrderStatus.SUBMITTED, 3), part) == part
    assert followed(told(OrderStatus.SUBMITTED, 4), part) == part
    assert followed(told(OrderStatus.SUBMITTED, 5), part).filled_quantity == 5
