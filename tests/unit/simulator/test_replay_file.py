"""Price histories from CSV files: played as they are, or refused with the line and the reason."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ibkr_mcp_server.simulator.history import DayBar, shipped_history
from ibkr_mcp_server.simulator.listings import default_catalogue
from ibkr_mcp_server.simulator.market import Market
from ibkr_mcp_server.simulator.replay_file import ReplayFileUnusable, read_replay
from ibkr_mcp_server.simulator.sessions import Sessions

HEADER = "date,symbol,open,high,low,close,volume\n"
STARTED = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)


def rows(symbol: str, *, days: int = 12, price: float = 100.0, skip: int = -1) -> str:
    """Days that rise by one each, from 2020-01-01 on."""
    return "".join(
        f"{date(2020, 1, 1) + timedelta(days=day)},{symbol},{price + day:.2f},{price + day + 0.75:.2f},"
        f"{price + day - 0.25:.2f},{price + day + 0.5:.2f},{1000 + day}\n"
        for day in range(days)
        if day != skip
    )


def written(folder: Path, text: str) -> Path:
    file = folder / "days.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_file_is_played_day_by_day_at_its_own_prices(tmp_path: Path) -> None:
    history = read_replay(written(tmp_path, HEADER + rows("AAPL") + rows("ZZYZX", price=20)))
    catalogue = default_catalogue(history.symbols)
    market = Market(catalogue, Sessions(always_open=True), seed=1, started=STARTED, history=history, speed=23_400 / 60)
    (own,) = catalogue.matching(symbol="ZZYZX", sec_type="STK", currency="USD")

    shown = []
    for day in range(3):
        market.advance_to(STARTED + timedelta(minutes=day, seconds=59.999))
        shown.append(
            [
                (quote.open, quote.high, quote.low, quote.last, quote.volume)
                for quote in (market.quote(265598), market.quote(own.con_id))
            ]
        )

    # A quarter of the twelve days is the past that charts need.
    assert history.starts == date(2020, 1, 4)
    assert shown == [
        [
            tuple(
                map(Decimal, (price + 3 + day, price + 3.75 + day, price + 2.75 + day, price + 3.5 + day, 1003 + day))
            )
            for price in (100, 20)
        ]
        for day in range(3)
    ]
    past = market.bars(265598, end=STARTED, duration="3 D", bar_size="1 day", what="TRADES", use_rth=True, now=STARTED)
    assert [bar.close for bar in past[-2:]] == [Decimal("101.5"), Decimal("102.5")]


def test_columns_and_rows_may_come_in_any_order_and_others_are_ignored(tmp_path: Path) -> None:
    plain = read_replay(written(tmp_path, HEADER + rows("AAPL")))
    turned = "Volume,Close,Note,Low,High,Open,Symbol,Date\n"
    for line in reversed(rows("aapl").splitlines()):
        day, symbol, opening, high, low, close, volume = line.split(",")
        turned += f"{volume},{close},hello,{low},{high},{opening},{symbol},{day}T00:00:00\n"

    again = read_replay(written(tmp_path, turned))

    assert again.name == plain.name
    assert again.bar("AAPL", 0) == DayBar(10_000, 10_075, 9_975, 10_050, 1_000)


def test_days_that_one_symbol_lacks_are_left_out(tmp_path: Path) -> None:
    history = read_replay(written(tmp_path, HEADER + rows("AAPL") + rows("IBM", skip=2)))

    assert len(history) == 11
    assert date(2020, 1, 3) not in [history.day(index) for index in range(len(history))]


def test_a_replayed_symbol_keeps_its_contract_id_whatever_else_is_in_the_file() -> None:
    alone, among_others = (default_catalogue(symbols) for symbols in (("ZZYZX",), ("AAPL", "MSFT", "QWERT", "ZZYZX")))

    assert alone.matching(symbol="ZZYZX") == among_others.matching(symbol="ZZYZX")
    assert len(among_others) == len(default_catalogue()) + 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "lacks the column"),
        ("date,symbol,open,high,low,close\n", "lacks the column.* volume"),
        (HEADER, "0 days"),
        (HEADER + rows("AAPL", days=4), "4 days .* needs 5"),
        (HEADER + rows("AAPL") + rows("IBM").replace("2020", "2021"), "0 days on which every one of its 2 symbols"),
        (HEADER + rows("AAPL") + "2020-01-01,AAPL,1,1,1,1,1\n", "line 14: AAPL has a second row for 2020-01-01"),
        (HEADER + "01/02/2020,AAPL,1,1,1,1,1\n", "line 2: '01/02/2020' is not a date"),
        (HEADER + "2020-01-01,AAPL,1,1,1,x,1\n", "line 2, close: 'x' is not a number"),
        (HEADER + "2020-01-01,AAPL,1,1,1,nan,1\n", "line 2, close: 'nan' is not a number"),
        (HEADER + "2020-01-01,AAPL,1,1,1\n", "line 2, close: '' is not a number"),
        (HEADER + "2020-01-01,AAPL,10,9,8,9,1\n", "line 2: open 10, high 9, .* is not a day of trading"),
        (HEADER + "2020-01-01,AAPL,0.01,0.02,0.01,0.02,1\n", "below 0.05"),
        (HEADER + "2020-01-01,AAPL,1e9,1e9,1e9,1e9,1\n", "above 10000000"),
        (HEADER + "2020-01-01,AAPL,1,1,1,1,-1\n", "not a day of trading"),
        (HEADER + "2020-01-01,A/B;C,1,1,1,1,1\n", "'A/B;C' is not a symbol"),
        (HEADER + "2020-01-01,\x00,1,1,1,1,1\n", "not a CSV file|not a symbol"),
    ],
)
def test_a_file_that_is_no_history_is_refused_with_the_place_and_the_reason(
    tmp_path: Path, text: str, reason: str
) -> None:
    with pytest.raises(ReplayFileUnusable, match=reason):
        read_replay(written(tmp_path, text))


def test_a_saved_market_is_not_continued_with_another_history(tmp_path: Path) -> None:
    history = read_replay(written(tmp_path, HEADER + rows("AAPL")))
    replaying = Market(default_catalogue(), Sessions(always_open=True), seed=1, started=STARTED, history=history)
    plain = Market(default_catalogue(), Sessions(always_open=True), seed=1, started=STARTED)
    older = {name: value for name, value in plain.state().items() if name != "history"}

    plain.restore(older)
    with pytest.raises(ValueError, match="another price history"):
        plain.restore(replaying.state())
    replaying.restore(replaying.state())


def test_the_shipped_history_starts_in_autumn_2008() -> None:
    assert shipped_history().starts == date(2008, 9, 2)
