"""The journal: what was appended is loaded, what was torn is not."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from ibkr_mcp_server.simulator.journal import Journal, decode, encode


@dataclass(frozen=True)
class Inner:
    price: Decimal | None
    names: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Outer:
    inner: Inner
    at: datetime
    day: date
    by_number: dict[int, Decimal] = field(default_factory=dict)
    flag: bool = False


@pytest.mark.parametrize("price", [None, Decimal("0.10"), Decimal("1E-8")])
def test_dataclasses_travel_unchanged(price: Decimal | None) -> None:
    value = Outer(
        inner=Inner(price=price, names=("a", "b"), pairs=(("c", "d"),)),
        at=datetime(2026, 11, 20, 15, 0, 0, 123, tzinfo=UTC),
        day=date(2026, 11, 20),
        by_number={7: Decimal("1.50")},
        flag=True,
    )
    assert decode(Outer, encode(value)) == value


def loaded(directory: Path) -> dict[str, dict[str, object]]:
    journal = Journal(directory)
    state = journal.load()
    journal.close()
    return state


def append(directory: Path, *transactions: dict[str, dict[str, object]]) -> None:
    journal = Journal(directory)
    journal.load()
    for transaction in transactions:
        journal.append(transaction)
    journal.close()


def test_transactions_are_merged_and_nulls_delete(tmp_path: Path) -> None:
    assert loaded(tmp_path) == {}
    append(tmp_path, {"orders": {"1": "new", "2": "new"}}, {"orders": {"1": "changed", "2": None}})
    assert loaded(tmp_path) == {"orders": {"1": "changed"}}
    assert loaded(tmp_path) == {"orders": {"1": "changed"}}, "compaction loses nothing"


@pytest.mark.parametrize("torn", [b'{"orders":', b'{"orders":{"1":"torn"}}', b"\xff\xfe\n"])
def test_torn_last_line_is_dropped_and_written_over(tmp_path: Path, torn: bytes) -> None:
    append(tmp_path, {"orders": {"1": "whole"}})
    with (tmp_path / "world.jsonl").open("ab") as file:
        file.write(torn)
    append(tmp_path, {"orders": {"2": "after"}})
    assert loaded(tmp_path) == {"orders": {"1": "whole", "2": "after"}}


def test_append_needs_a_loaded_journal(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        Journal(tmp_path).append({})
