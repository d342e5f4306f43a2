"""The real daily bars that the paper gateway replays: those it ships, or a file's (`replay_file.py`).

`data/README.md` names the source of the shipped ones and its licence.

Read on first use, and each line taken apart only when its day is asked for: a gateway must start at once.
"""

from __future__ import annotations

import gzip
from bisect import bisect_left
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

SHIPPED = "shipped"
DATA = Path(__file__).parent / "data" / "daily.csv.gz"


class DayBar(NamedTuple):
    """One trading day. Prices are whole multiples of the instrument's smallest increment, here cents."""

    open: int
    high: int
    low: int
    close: int
    volume: int


class History:
    """Trading days in order, numbered from 0, each with one bar per symbol."""

    def __init__(self, text: str, *, name: str, starts: date) -> None:
        """`text` has a header with the symbols and a line per day, `name` tells this history from others.

        A replay starts on the day `starts` unless it is told otherwise.
        """
        self.name = name
        self.starts = starts
        header, *self._lines = text.splitlines()
        self.symbols: tuple[str, ...] = tuple(header.split(",")[1:])
        self._bars: dict[int, dict[str, DayBar]] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def index_of(self, day: date) -> int:
        """The number of the first trading day on or after `day`.

        Raises:
            ValueError: the history ends before that day.
        """
        index = bisect_left(self._lines, day.isoformat())
        if index == len(self._lines):
            raise ValueError(f"The price history ends on {self.day(-1)}, before {day}.")
        return index

    def day(self, index: int) -> date:
        return date.fromisoformat(self._lines[index].partition(",")[0])

    def bar(self, symbol: str, index: int) -> DayBar:
        bars = self._bars.get(index)
        if bars is None:
            columns = self._lines[index].split(",")[1:]
            bars = {name: DayBar(*map(int, c.split())) for name, c in zip(self.symbols, columns, strict=True)}
            self._bars[index] = bars
        return bars[symbol]


@lru_cache(maxsize=1)
def shipped_history() -> History:
    """AAPL, GOOG, IBM and MSFT; the replay starts in autumn 2008, the liveliest stretch."""
    return History(gzip.decompress(DATA.read_bytes()).decode("ascii"), name=SHIPPED, starts=date(2008, 9, 2))
