"""The floors under the coverage of the safety modules; `make coverage` measures and holds them (QA-02)."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.coverage_floors import shares, told

NAME = "ibkr_mcp_server/safety/manager.py"


def file(*, lines: int, branches: int) -> dict[str, Any]:
    """As coverage reports a file of a thousand lines and a hundred branches."""
    return {
        "summary": {
            "covered_lines": lines,
            "num_statements": 1_000,
            "covered_branches": branches,
            "num_branches": 100,
        },
        "missing_lines": [17] if lines < 1_000 else [],
        "missing_branches": [[4, 9], [5, -1]] if branches < 100 else [],
    }


def test_at_their_floors_the_safety_modules_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert told({NAME: file(lines=950, branches=90)}) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("lines", "branches", "says"),
    [(949, 100, "94.90 % of the lines"), (1_000, 89, "89.00 % of the branches")],
)
def test_below_either_floor_they_fail_and_what_did_not_run_is_printed(
    lines: int, branches: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told({NAME: file(lines=lines, branches=branches)}) == 1
    printed = capsys.readouterr().out
    assert says in printed
    assert f"{NAME}: {'17' if lines < 1_000 else '4->9, 5->exit'}\n" in printed


def test_lines_and_branches_are_told_apart_and_summed_over_the_files() -> None:
    found = shares({"a": file(lines=1_000, branches=50), "b": file(lines=0, branches=100)})
    assert (found["lines"].percent, found["branches"].percent) == (50, 75)


def test_nothing_measured_is_no_pass() -> None:
    """A run that measured the wrong folder may not look like one in which everything ran."""
    assert told({}) == 1
