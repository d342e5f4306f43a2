"""Disables each check of the policy, one at a time, and prints which test notices. Exits 1 if none does.

    python -m scripts.mutations [RULE ...]     all rules by default

First all the named tests run with every check in place: a test that fails anyway notices nothing. Then each rule is
disabled in a run of its own, until the first of its tests fails.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scripts.mutations.table import NOTICED_BY, rules_of_the_policy

ROOT = Path(__file__).resolve().parents[2]
RUN_TIMEOUT_SECONDS = 300
ALL_PASSED, SOME_FAILED = 0, 1
"""The exit codes of pytest that say something about the product; the others are mistakes of the run."""
FAILED_TEST = re.compile(r"^FAILED (\S+?)(?:\[| - |$)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run of pytest said."""

    code: int
    output: str

    @property
    def failed(self) -> str | None:
        """The first test that failed, without its parameters; None if all passed or the run itself went wrong."""
        found = FAILED_TEST.search(self.output) if self.code == SOME_FAILED else None
        return found.group(1) if found else None


def pytest_run(tests: tuple[str, ...], *options: str) -> Run:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "scripts.mutations.plugin"]
    try:
        done = subprocess.run(
            [*command, *options, *tests], cwd=ROOT, capture_output=True, text=True, timeout=RUN_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return Run(code=-1, output=f"The tests did not end within {RUN_TIMEOUT_SECONDS} seconds.")
    return Run(code=done.returncode, output=done.stdout + done.stderr)


def run_without(rule: str) -> Run:
    """The tests of `rule` without its check; a rule that has none survives."""
    tests = NOTICED_BY.get(rule, ())
    if not tests:
        return Run(code=ALL_PASSED, output="")
    return pytest_run(tests, "-x", "--without-check", rule)


def told(run: Run) -> str:
    """What the table says beside a rule."""
    if run.failed is not None:
        return escape(run.failed)
    if run.code == ALL_PASSED:
        return "[red]SURVIVED: no test notices[/]"
    last = run.output.strip().splitlines()[-1:] or ["no output"]
    return f"[red]the run went wrong ({run.code}): {escape(last[0])}[/]"


def main() -> int:
    known = rules_of_the_policy()
    rules = sys.argv[1:] or known
    if unknown := set(rules) - set(known):
        print(f"unknown: {', '.join(sorted(unknown))}; rules are {', '.join(known)}", file=sys.stderr)
        return 2
    console = Console()
    tests = tuple(dict.fromkeys(test for rule in rules for test in NOTICED_BY.get(rule, ())))
    baseline = pytest_run(tests)
    if baseline.code != ALL_PASSED:
        print(baseline.output)
        print("With every check in place these tests must pass before a mutation can mean anything.")
        return 1

    table = Table(title="Mutations of the policy (QA-05)")
    table.add_column("Disabled check", no_wrap=True)
    table.add_column("Noticed by", overflow="fold")
    runs: dict[str, Run] = {}
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for rule, run in zip(rules, pool.map(run_without, rules), strict=True):
            runs[rule] = run
            table.add_row(rule, told(run))
            print(f"{len(runs)} of {len(rules)}: {rule}", file=sys.stderr, flush=True)
    console.print(table)
    survived = [rule for rule, run in runs.items() if run.failed is None]
    console.print(f"{len(runs) - len(survived)} of {len(runs)} mutations were noticed.")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
