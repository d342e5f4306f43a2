"""The table of promises is true: every test in it exists, and nothing that had to be promised is missing."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests import scenarios
from tests.field_defects import FIELD_DEFECTS, NOT_SHOWN, NUMBER_OF_DEFECTS
from tests.promises import FROM_OUTSIDE, LAST_OF_FAMILY, PART_1, PROMISES, Promise
from tests.scenarios import SCENARIOS

ROOT = Path(__file__).resolve().parents[1]
KNOWN = {f"{family}-{number:02}" for family, last in LAST_OF_FAMILY.items() for number in range(1, last + 1)}
DEFECTS = {f"FD-{number}" for number in range(1, NUMBER_OF_DEFECTS + 1)}
ALL = PROMISES | FIELD_DEFECTS


def expanded(ranges: str) -> set[str]:
    """The IDs that "TW-01 TW-03..TW-12" means."""
    found = set()
    for part in ranges.split():
        first, _, last = part.partition("..")
        family, _, low = first.partition("-")
        high = (last or first).partition("-")[2]
        found |= {f"{family}-{number:02}" for number in range(int(low), int(high) + 1)}
    return found


@cache
def collected(path: str) -> frozenset[str]:
    """The tests that pytest collects from a file; ours are all functions at the top of a module."""
    file = ROOT / path
    if not file.is_file() or not re.fullmatch(r"test_\w+\.py", file.name):
        return frozenset()
    body = ast.parse(file.read_text(encoding="utf-8")).body
    functions = [node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(node.name for node in functions if node.name.startswith("test"))


def exists(test: str) -> bool:
    path, _, name = test.partition("::")
    return path.startswith("tests/") and name in collected(path)


def test_every_promise_is_held_by_tests_that_exist() -> None:
    for identity, promise in ALL.items():
        assert promise.tests, f"{identity}: a promise without a test is a wish"
        assert [test for test in promise.tests if not exists(test)] == [], identity
        assert len(set(promise.tests)) == len(promise.tests), identity


def test_a_name_that_is_no_test_is_noticed() -> None:
    assert exists("tests/test_promises.py::test_a_name_that_is_no_test_is_noticed")
    for absent in (
        "tests/test_promises.py::test_that_nobody_wrote",
        "tests/test_promises.py::exists",
        "tests/test_promises.py",
        "tests/nowhere/test_x.py::test_a_name_that_is_no_test_is_noticed",
        "test_promises.py::test_a_name_that_is_no_test_is_noticed",
    ):
        assert not exists(absent), absent


def test_every_requirement_of_part_one_is_promised() -> None:
    wanted = expanded(PART_1)
    assert len(wanted) == 88
    assert sorted(wanted - PROMISES.keys()) == []


def test_whatever_stops_trading_by_itself_is_shown_through_the_gateway() -> None:
    assert [
        identity
        for identity in sorted(expanded(FROM_OUTSIDE))
        if not any(test.startswith(scenarios.FROM_OUTSIDE) for test in PROMISES[identity].tests)
    ] == []


def test_no_promise_has_an_unknown_id() -> None:
    assert sorted(PROMISES.keys() - KNOWN) == []
    assert expanded(PART_1) <= KNOWN


def test_every_known_defect_is_shown_to_be_absent_or_says_why_it_is_not() -> None:
    assert FIELD_DEFECTS.keys() | NOT_SHOWN.keys() == DEFECTS
    assert FIELD_DEFECTS.keys() & NOT_SHOWN.keys() == set()
    assert all(reason.endswith(".") for reason in NOT_SHOWN.values())


@pytest.mark.parametrize(("number", "scenario"), SCENARIOS.items(), ids=list(SCENARIOS))
def test_every_scenario_is_played_from_outside_by_tests_that_exist(number: str, scenario: Promise) -> None:
    assert scenario.tests
    assert [test for test in scenario.tests if not (test.startswith(scenarios.FROM_OUTSIDE) and exists(test))] == []


def test_every_scenario_is_shown_or_says_why_it_is_not() -> None:
    numbers = {f"A{number}" for number in range(1, scenarios.NUMBER_OF_SCENARIOS + 1)}
    assert SCENARIOS.keys() == numbers


def test_every_promise_is_one_sentence_of_its_own() -> None:
    sentences = [promise.says for promise in (ALL | SCENARIOS).values()]
    for sentence in sentences:
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert len(sentence) <= 120
    assert len(set(sentences)) == len(sentences)
