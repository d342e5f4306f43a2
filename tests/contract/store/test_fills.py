"""Fills are kept once, whatever is told again; a correction is told as one."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select

from ibkr_mcp_server.domain.orders import fill_of
from ibkr_mcp_server.store import fills, trades
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.fills import News
from ibkr_mcp_server.store.schema import fills as table
from ibkr_mcp_server.store.trades import Trade
from tests.stores import NOON


def told(connection: Connection, execution_id: str) -> News:
    fill, revision = fill_of(execution_id)
    return fills.note(connection, execution_id, fill=fill, revision=revision, intent_id=None, now=NOON)


async def test_a_fill_that_is_told_again_is_no_news_also_in_another_run(url: str, database: Database) -> None:
    """ID-13."""
    first = await database.run(lambda connection: told(connection, "0000e0d5.6b01608b.01.01"))
    again = await database.run(lambda connection: told(connection, "0000e0d5.6b01608b.01.01"))
    other = await database.run(lambda connection: told(connection, "0000e0d5.6b01608b.02.01"))
    assert [first, again, other] == [News(is_new=True), News(is_new=False), News(is_new=True)]
    later = Database.open(url)
    assert not later.run_blocking(lambda connection: told(connection, "0000e0d5.6b01608b.01.01")).is_new
    later.close()


async def test_a_correction_names_what_it_replaces_and_the_older_version_is_no_news_after_it(
    database: Database,
) -> None:
    for execution_id, news in (
        ("e0d5.01.01", News(is_new=True)),
        ("e0d5.01.03", News(is_new=True, corrects="e0d5.01.01")),
        ("e0d5.01.02", News(is_new=False)),
        ("e0d5.01.01", News(is_new=False)),
    ):
        assert await database.run(partial(told, execution_id=execution_id)) == news
    assert await database.read(lambda connection: connection.scalar(select(func.count()).select_from(table))) == 2


async def test_the_price_of_a_corrected_fill_stays_when_the_older_version_is_told_after_it(database: Database) -> None:
    """ID-13: profits and losses are computed from it."""
    first = Trade(
        fill="e0d5.01",
        revision=1,
        account="DU1",
        strategy="claude",
        order_key="a-key",
        con_id=265598,
        symbol="AAPL",
        sec_type="STK",
        currency="USD",
        side="BUY",
        quantity=Decimal(10),
        price=Decimal("190.50"),
        multiplier=None,
        commission=None,
        commission_currency=None,
        executed_at=NOON,
    )
    corrected = replace(first, revision=2, price=Decimal("190.40"))
    for version in (first, corrected, first):
        await database.run(partial(trades.note, trade=version))
    assert [trade.price for trade in await database.read(trades.newest)] == [Decimal("190.40")]


@given(st.text(max_size=30))
def test_every_execution_id_belongs_to_one_fill(execution_id: str) -> None:
    fill, revision = fill_of(execution_id)
    assert revision >= 0
    assert execution_id in (fill, f"{fill}.{execution_id.rpartition('.')[2]}")
