"""Prints the product's figures, each beside its anchor from the same run. Nothing here passes or fails.

    python -m scripts.bench [start] [decisions] [placement] [status] [gateway]     all parts by default

Pin it to one core for figures that repeat: `taskset -c 0 make bench`. Only loopback is used, and everything started
here is ended here.
"""

from __future__ import annotations

import sys

from ibkr_mcp_server.audit.parts import cores
from scripts.bench.decisions import decision_figures
from scripts.bench.gateway import gateway_figures
from scripts.bench.kit import Bench
from scripts.bench.placement import placement_figures
from scripts.bench.start import start_figures
from scripts.bench.status import status_figures
from tests.private_state import private_state

PARTS = {
    "start": start_figures,
    "decisions": decision_figures,
    "placement": placement_figures,
    "status": status_figures,
    "gateway": gateway_figures,
}


def main() -> int:
    wanted = sys.argv[1:] or list(PARTS)
    if unknown := set(wanted) - set(PARTS):
        print(f"unknown: {', '.join(sorted(unknown))}; parts are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    print(f"Python {sys.version.split()[0]}, {cores()} core(s)")
    with private_state("bench-") as state:
        for part in wanted:
            PARTS[part](Bench(state))
    return 0


if __name__ == "__main__":
    sys.exit(main())
