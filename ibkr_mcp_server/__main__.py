"""The program `ibkr-mcp-server`, also `python -m ibkr_mcp_server`.

A host starts `serve` for every conversation and waits for it, so that command goes past the command-line library,
which takes longer to import than everything that `serve` has to parse.
"""

from __future__ import annotations

import gc
import sys

RARELY = (50_000, 20, 20)
"""Thresholds of the garbage collector. What is imported is no garbage: to look for some in it over and over would take
a seventh of the start.
"""


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    gc.set_threshold(*RARELY)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    if arguments[:1] == ["serve"]:
        from ibkr_mcp_server.cli.serve import serve

        return serve(arguments[1:])
    from ibkr_mcp_server.cli.main import run_command

    return run_command(arguments)


if __name__ == "__main__":
    main()
