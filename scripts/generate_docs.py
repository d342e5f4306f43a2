"""Write the pages that are made from the code; with `--check`, only say which of them are out of date.

A page that joins `PAGES` is a function without arguments that returns the whole text.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from ibkr_mcp_server.settings.pages import env_example, settings_page
from ibkr_mcp_server.tools.catalogue import schemas_page

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.pages import alerts_page, broker_codes_page, paper_gateway_page, refusals_page, safety_page, tools_page

ROOT = Path(__file__).resolve().parent.parent
PAGES: dict[Path, Callable[[], str]] = {
    Path("ibkr_mcp_server/tools/schemas.json"): schemas_page,  # first: the page of tools is made from it
    Path(".env.example"): env_example,
    Path("docs/settings.md"): settings_page,
    Path("docs/tools.md"): tools_page,
    Path("docs/refusals.md"): refusals_page,
    Path("docs/safety.md"): safety_page,
    Path("docs/broker-codes.md"): broker_codes_page,
    Path("docs/paper-gateway.md"): paper_gateway_page,
    Path("docs/alerts.md"): alerts_page,
}


def main() -> int:
    """1 when `--check` finds a page out of date, else 0."""
    only_check, found = "--check" in sys.argv[1:], 0
    for path, page in PAGES.items():
        text = page()
        if _is_current(ROOT / path, text):
            continue
        if only_check:
            print(f"{path} is out of date; run: python scripts/generate_docs.py", file=sys.stderr)
            found = 1
        else:
            (ROOT / path).write_text(text, encoding="utf-8", newline="\n")
            print(f"wrote {path}")
    return found


def _is_current(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
