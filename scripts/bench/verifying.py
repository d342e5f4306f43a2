"""Verifies the log of a file and prints how fast: python -m scripts.bench.verifying FILE

A program of its own that imports nothing at first, because each process that follows a part imports its program, too.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

ROUNDS = 5


def main(file: Path) -> None:
    from ibkr_mcp_server.audit.parts import cores, shares
    from ibkr_mcp_server.audit.verify import verify_database
    from ibkr_mcp_server.store.database import Database

    database = Database.open(file, read_only=True)
    taken: dict[int, list[tuple[float, float]]] = {}
    records = 0
    for _ in range(ROUNDS):
        for processes in sorted({1, cores()}):
            began, spent = time.perf_counter(), sum(os.times()[:4])  # its own, and that of its children
            report = verify_database(database, processes=processes)
            figures = time.perf_counter() - began, sum(os.times()[:4]) - spent
            taken.setdefault(processes, []).append(figures)
            assert report.ok, report.reason
            records = report.records
    database.close()
    for processes, rounds in taken.items():
        walls, busy = (sorted(records / each for each in column) for column in zip(*rounds, strict=True))
        count = shares(records, processes)
        name = f"audit verify, {records:,} records, {count} process{'es' * (count > 1)}"
        print(
            f"{name:<44}{walls[ROUNDS // 2]:>10,.0f} records/s, best {walls[-1]:,.0f}"
            f"   by processor time {busy[ROUNDS // 2]:,.0f}, best {busy[-1]:,.0f}"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
