"""Kills a server with SIGKILL at every step of the order path, and checks what must hold after each restart.

    python -m scripts.crashes [--schedules 200] [--seed 1]

Prints how often it crashed at which step. Exits 1 if anything did not hold. Only loopback is used, and every process
started here is ended here. The same seed tries the same schedules.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from rich.console import Console
from rich.table import Table

from scripts.crashes.campaign import BOUNDARIES, MOST_CRASHES_OF_A_WORLD, Report, run_world, schedules
from tests.private_state import private_state

MOST_SECONDS_OF_A_WORLD = 900


async def campaign(seed: int, count: int) -> Report:
    """`count` crashes in worlds of a few each, as many worlds at once as there are cores."""
    total = Report()
    turn = asyncio.Semaphore(min(4, os.cpu_count() or 1))

    async def world(first: int) -> None:
        name = f"world-{seed}-{first}"
        chosen = schedules(seed, first, min(MOST_CRASHES_OF_A_WORLD, count - first))
        async with turn:
            with private_state("crashes-") as state:
                try:
                    async with asyncio.timeout(MOST_SECONDS_OF_A_WORLD):
                        total.add(await run_world(state, name, chosen))
                except Exception as error:  # one world that went wrong must not hide what the others show
                    total.broken.append(f"{name}: {type(error).__name__}: {error}")
                    print(total.broken[-1], file=sys.stderr)
        print(f"{total.crashes.total()} of {count} crashes, {len(total.broken)} broken", file=sys.stderr, flush=True)

    await asyncio.gather(*(world(first) for first in range(0, count, MOST_CRASHES_OF_A_WORLD)))
    return total


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.crashes")
    parser.add_argument("--schedules", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    report = asyncio.run(campaign(chosen.seed, chosen.schedules))

    table = Table("Killed when an order was", "Crashes", "Orders at the gateway by then", title="Crashes (QA-04)")
    for boundary in BOUNDARIES:
        table.add_row(boundary, str(report.crashes[boundary]), str(report.reached[boundary]))
    table.add_section()
    table.add_row("all", str(report.crashes.total()), str(report.reached.total()))
    Console().print(table)
    for line in report.broken:
        print(f"BROKEN {line}")
    worlds = -(-chosen.schedules // MOST_CRASHES_OF_A_WORLD)
    print(f"{report.stops_kept} of {worlds} stops survived; {len(report.broken)} invariants were broken.")
    complete = report.crashes.total() == chosen.schedules and report.stops_kept == worlds
    return 0 if complete and not report.broken else 1


if __name__ == "__main__":
    sys.exit(main())
