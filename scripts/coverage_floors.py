"""Print how much of each package the suite ran, and hold the safety modules to their floors (QA-02).

Reads what `make coverage` measured. Exit code 1: fewer of the safety modules' lines or branches ran than FLOORS asks
for, and those that did not are printed. Coverage's own `--fail-under` knows one figure, of lines and branches together.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coverage import Coverage

PACKAGE = "ibkr_mcp_server"
SAFETY = f"{PACKAGE}/safety"
FLOORS = {"lines": 95.0, "branches": 90.0}
"""Per cent of the safety modules."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many of so many ran."""

    ran: int
    of: int

    @property
    def percent(self) -> float:
        return 100 * self.ran / self.of if self.of else 0.0  # nothing measured proves nothing

    def __str__(self) -> str:
        return f"{self.percent:6.2f} % ({self.ran} of {self.of})"


def main() -> int:
    files = _files()
    packages = sorted({"/".join(Path(name).parts[:2]) for name in files if len(Path(name).parts) > 2})
    for package in (*packages, PACKAGE):
        found = shares(_of(files, package))
        print(f"{package:32} lines {found['lines']!s:26}  branches {found['branches']}")
    return told(_of(files, SAFETY))


def told(files: Mapping[str, Any]) -> int:
    """Print what keeps the safety modules, which `files` are, below a floor; the exit code."""
    found = shares(files)
    below = [
        f"{found[kind].percent:.2f} % of the {kind}, not {floor:g} %"
        for kind, floor in FLOORS.items()
        if found[kind].percent < floor
    ]
    if not below:
        return 0
    print(f"\nToo little of the safety modules ran: {' and '.join(below)}.")
    for name, file in sorted(files.items()):
        if file["missing_lines"] or file["missing_branches"]:
            jumps = [f"{start}->{'exit' if end < 0 else end}" for start, end in file["missing_branches"]]
            print(f"{name}: {', '.join((*map(str, file['missing_lines']), *jumps))}")
    return 1


def shares(files: Mapping[str, Any]) -> dict[str, Share]:
    summaries = [file["summary"] for file in files.values()]
    return {
        "lines": _sum(summaries, ran="covered_lines", of="num_statements"),
        "branches": _sum(summaries, ran="covered_branches", of="num_branches"),
    }


def _sum(summaries: Iterable[Mapping[str, int]], *, ran: str, of: str) -> Share:
    summaries = list(summaries)
    return Share(ran=sum(one[ran] for one in summaries), of=sum(one[of] for one in summaries))


def _of(files: Mapping[str, Any], package: str) -> dict[str, Any]:
    return {name: file for name, file in files.items() if name.startswith(f"{package}/")}


def _files() -> dict[str, Any]:
    """Coverage's own report of each file, by its path in the repository."""
    measured = Coverage()
    measured.load()
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.json"
        measured.json_report(outfile=str(report))
        files: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))["files"]
        return files


if __name__ == "__main__":
    sys.exit(main())
