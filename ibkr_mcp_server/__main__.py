"""The program `ibkr-mcp-server`, also `python -m ibkr_mcp_server`.

A host starts `serve` for every conversation and waits for it, so that command goes past the command-line library,
which takes longer to import than everything that `serve` has to parse.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["serve"]:
        from ibkr_mcp_server.cli.serve import serve

        sys.exit(serve(arguments[1:]))
    from ibkr_mcp_server.cli.main import run

    sys.exit(run(arguments))


if __name__ == "__main__":
    main()
