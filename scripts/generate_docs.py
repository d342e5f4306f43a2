"""Write the pages that are made from the code; with `--check`, only say which of them are out of date.

A page that joins `PAGES` is a function without arguments that returns the whole text.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from ibkr_mcp_server.settings_pages import env_example, settings_page
from ibkr_mcp_server.tools.catalogue import schemas_page

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.pages import paper_gateway_page, refusals_page, safety_page, tools_page

ROOT = Path(__file__).resolve().parent.parent
PAGES: dict[Path, Callable[[], str]] = {
    Path(".env.example"): env_example,
    Path("docs/settings.md"): settings_page,
    Path("docs/tools.md"): tools_page,
    Path("docs/refusals.md"): refusals_page,
    Path("docs/safety.md"): safety_page,
    Path("docs/paper-gateway.md"): paper_gateway_page,
    Path("ibkr_mcp_server/tools/schemas.json"): schemas_page,
}


def main() -> int:
    """1 when `--check` finds a page out of date, else 0."""
    stale = [path for path, text in PAGES.items() if not _is_current(ROOT / path, text())]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path} is out of date; run: python scripts/generate_docs.py", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        (ROOT / path).write_text(PAGES[path](), encoding="utf-8", newline="\n")
        print(f"wrote {path}")
    return 0


def _is_current(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
