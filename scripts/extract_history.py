"""Makes `ibkr_mcp_server/simulator/data/daily.csv.gz` from the stocks that the PyPI package `bokeh_sampledata` ships.

Run by hand, with that package installed, when the extract is to change; the product itself never needs the package.
The result is the same to the byte on every run: see the README beside the file for the source and its licence.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from bokeh_sampledata import stocks

SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")
FROM = "2005-03-01"  # the source is unadjusted; the last split among the four is Apple's, on 2005-02-28
TARGET = Path(__file__).parent.parent / "ibkr_mcp_server" / "simulator" / "data" / "daily.csv.gz"


def rows_of(symbol: str) -> dict[str, list[int]]:
    """Date to open, high, low, close (in cents, rounded: a few of the source's prices have more digits) and volume."""
    source = getattr(stocks, symbol)
    columns = zip(*(source[name] for name in ("open", "high", "low", "close")), source["volume"], strict=True)
    rows = {}
    for day, (*prices, volume) in zip(source["date"], columns, strict=True):
        opening, high, low, close = cents = [round(price * 100) for price in prices]
        if not 0 < low <= min(opening, close) <= max(opening, close) <= high:
            raise ValueError(f"{symbol} {day}: {cents} is not a bar")
        rows[day] = [*cents, volume]
    return rows


def main() -> None:
    by_symbol = {symbol: rows_of(symbol) for symbol in SYMBOLS}
    days = sorted(day for day in by_symbol[SYMBOLS[0]] if day >= FROM)
    lines = ["date," + ",".join(SYMBOLS)]
    for day in days:
        # A day that one of the four lacks is an error here (KeyError), so that the reader may rely on whole rows.
        lines.append(",".join([day, *(" ".join(map(str, by_symbol[symbol][day])) for symbol in SYMBOLS)]))
    text = "\n".join(lines) + "\n"
    TARGET.write_bytes(gzip.compress(text.encode("ascii"), compresslevel=9, mtime=0))
    print(f"{TARGET.name}: {len(days)} days, {days[0]} to {days[-1]}, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
