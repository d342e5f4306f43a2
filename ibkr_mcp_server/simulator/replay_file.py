"""Reads a price history to replay from a CSV file: one row per day and symbol, prices as the exchange quoted them.

The header names the columns `date` (YYYY-MM-DD), `symbol`, `open`, `high`, `low`, `close` and `volume`, in any order
and letter case; others are ignored. Rows may come in any order. Days that not every symbol of the file has are left
out: the replay moves all of them together, and nothing is made up.
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path

from ibkr_mcp_server.simulator.history import DayBar, History

COLUMNS = ("date", "symbol", "open", "high", "low", "close", "volume")
FEWEST_DAYS = 5
LOWEST_CENTS = 5
"""Below that there is no room for a bid and an ask."""
HIGHEST_PRICE = Decimal(10) ** 7
LONGEST_PAST = 250
"""Trading days, about a year: as much of a file is left before the first replayed day, so that charts have a past."""


class ReplayFileUnusable(ValueError):
    """The file is not a price history; the text says where and why."""


def read_replay(path: Path) -> History:
    """The history in a CSV file. By default it plays from a quarter of its days on, at most `LONGEST_PAST`.

    Raises:
        ReplayFileUnusable: a column is missing, a row makes no sense, or too few days are left.
        OSError: the file cannot be read.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            bars = _bars(csv.DictReader(file), path.name)
        except (csv.Error, UnicodeDecodeError) as error:
            raise ReplayFileUnusable(f"{path.name} is not a CSV file: {error}") from error
    symbols = sorted(bars)
    days = sorted(set.intersection(*(set(rows) for rows in bars.values()))) if bars else []
    if len(days) < FEWEST_DAYS:
        raise ReplayFileUnusable(
            f"{path.name} has {len(days)} days on which every one of its {len(symbols)} symbols has a price;"
            f" a replay needs {FEWEST_DAYS}."
        )
    lines = ["date," + ",".join(symbols)]
    lines += [",".join([str(day), *(" ".join(map(str, bars[symbol][day])) for symbol in symbols)]) for day in days]
    text = "\n".join(lines)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return History(text, name=f"sha256:{digest}", starts=days[min(len(days) // 4, LONGEST_PAST)])


def _bars(reader: csv.DictReader[str], name: str) -> dict[str, dict[date, DayBar]]:
    header = {(column or "").strip().lower(): column for column in reader.fieldnames or ()}
    if missing := [column for column in COLUMNS if column not in header]:
        raise ReplayFileUnusable(f"{name} lacks the column(s) {', '.join(missing)}; it needs {', '.join(COLUMNS)}.")
    bars: dict[str, dict[date, DayBar]] = defaultdict(dict)
    for row in reader:
        where = f"{name}, line {reader.line_num}"
        fields = {column: (row[header[column]] or "").strip() for column in COLUMNS}
        symbol, day = _symbol(fields["symbol"], where), _day(fields["date"], where)
        if day in bars[symbol]:
            raise ReplayFileUnusable(f"{where}: {symbol} has a second row for {day}.")
        bars[symbol][day] = _bar(fields, where)
    return bars


def _symbol(text: str, where: str) -> str:
    if not (0 < len(text) <= 12 and text.isascii() and text.replace(".", "").replace(" ", "").isalnum()):
        raise ReplayFileUnusable(f"{where}: {text!r} is not a symbol.")
    return text.upper()


def _day(text: str, where: str) -> date:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        raise ReplayFileUnusable(f"{where}: {text!r} is not a date such as 2008-09-02.") from None


def _bar(fields: Mapping[str, str], where: str) -> DayBar:
    opening, high, low, close = (_cents(fields[column], f"{where}, {column}") for column in COLUMNS[2:6])
    volume = _number(fields["volume"], f"{where}, volume")
    if not LOWEST_CENTS <= low <= min(opening, close) <= max(opening, close) <= high or not 0 <= volume < 10**15:
        raise ReplayFileUnusable(
            f"{where}: open {fields['open']}, high {fields['high']}, low {fields['low']}, close {fields['close']},"
            f" volume {fields['volume']} is not a day of trading, or lies below {Decimal(LOWEST_CENTS) / 100}."
        )
    return DayBar(opening, high, low, close, int(volume))


def _cents(text: str, where: str) -> int:
    price = _number(text, where)
    if price > HIGHEST_PRICE:
        raise ReplayFileUnusable(f"{where}: {text} is above {HIGHEST_PRICE}.")
    return round(price * 100)


def _number(text: str, where: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ReplayFileUnusable(f"{where}: {text!r} is not a number.") from None
    if not number.is_finite():
        raise ReplayFileUnusable(f"{where}: {text!r} is not a number.")
    return number
