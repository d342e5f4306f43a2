"""The table of the mutations is complete and true; `make mutations` runs it (QA-05)."""

from __future__ import annotations

from ibkr_mcp_server.safety.checks.order_kind import OrderKind
from scripts.mutations.__main__ import ALL_PASSED, SOME_FAILED, Run, told
from scripts.mutations.plugin import WithoutObjection
from scripts.mutations.table import NOTICED_BY, rules_of_the_policy
from tests.test_promises import exists
from tests.unit.safety import builders as world


def test_every_rule_of_the_policy_names_a_test_that_notices_its_absence() -> None:
    """A new rule gets a line in `scripts/mutations/table.py`."""
    assert sorted(NOTICED_BY) == sorted(rules_of_the_policy())
    assert all(NOTICED_BY.values())


def test_every_test_of_the_mutations_exists() -> None:
    named = {test for tests in NOTICED_BY.values() for test in tests}
    assert sorted(test for test in named if not exists(test)) == []


def test_a_disabled_check_observes_and_never_objects() -> None:
    check = OrderKind(types=(), times_in_force=())
    seen = world.snapshot()
    assert check.review(world.placement(), seen).problems
    assert WithoutObjection(check=check).review(world.placement(), seen).problems == ()


def test_only_a_failed_test_counts_as_noticed() -> None:
    failed = Run(code=SOME_FAILED, output="...\nFAILED tests/a.py::test_b[x - y] - AssertionError: ...\n1 failed")
    assert failed.failed == "tests/a.py::test_b"
    for run in (
        Run(code=ALL_PASSED, output="1 passed"),
        Run(code=SOME_FAILED, output="ERROR tests/a.py::test_b - the fixture went wrong\n1 error"),
        Run(code=4, output="ERROR: no such test"),
        Run(code=-1, output=""),
    ):
        assert run.failed is None, run
        assert "red" in told(run)
