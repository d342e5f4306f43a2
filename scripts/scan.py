"""Look every pinned dependency up in a database of known vulnerabilities (SEC-08).

Exit code 0: none is known. 1: some are, and each is printed. 3: it could not be found out. pip-audit asks; this reads
its report, because it ends in the same way for a vulnerability and for a database out of reach.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
DATABASE = "https://api.osv.dev/v1/query"
VULNERABLE, NOT_SCANNED = 1, 3


def main() -> int:
    options = _options()
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.unlink(missing_ok=True)
    asked = subprocess.run(
        [
            *(sys.executable, "-m", "pip_audit", "--progress-spinner", "off"),
            *("--requirement", str(options.requirements), "--require-hashes", "--disable-pip"),
            *("--vulnerability-service", "osv", "--osv-url", options.database, "--timeout", "30"),
            *("--format", "json", "--output", str(options.report)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return told(options, asked.stderr)


def told(options: argparse.Namespace, errors: str) -> int:
    """Print what pip-audit's report says, or the last of its `errors` where it came to none; the exit code."""
    found = _report(options.report)
    skipped = [one["name"] for one in found or () if "skip_reason" in one]
    if found is None or skipped:
        why = f"no answer about {', '.join(skipped)}" if skipped else errors.strip().rpartition("\n")[2]
        print(f"NOT SCANNED: {options.database} did not tell what is vulnerable ({why}).")
        return 0 if options.if_reachable else NOT_SCANNED
    for one in found:
        for known in one["vulns"]:
            fixed = ", ".join(known["fix_versions"]) or "no version yet"
            print(f"{one['name']} {one['version']}: {known['id']}, fixed in {fixed}. {known['description'][:200]}")
    vulnerable = [one["name"] for one in found if one["vulns"]]
    print(f"{len(found)} pinned dependencies, {len(vulnerable)} with a known vulnerability; {options.report}")
    return VULNERABLE if vulnerable else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requirements", type=Path, default=REPOSITORY / "requirements.lock")
    parser.add_argument("--database", default=DATABASE, help="an address that answers as OSV's does")
    parser.add_argument("--report", type=Path, default=REPOSITORY / "build" / "vulnerabilities.json")
    parser.add_argument("--if-reachable", action="store_true", help="a database out of reach is no failure")
    return parser.parse_args()


def _report(path: Path) -> list[dict[str, object]] | None:
    """pip-audit's word about each dependency; None when it came to none."""
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["dependencies"])
    except (OSError, ValueError, KeyError):
        return None


if __name__ == "__main__":
    sys.exit(main())
