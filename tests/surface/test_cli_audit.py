"""The audit log from a shell: read, verified on any machine, exported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.surface.shell import Shell, new_shell

RECORDS = 4


@pytest.fixture(scope="module")
def used() -> Iterator[Shell]:
    """A shell whose log has some records; the tests only read it."""
    with new_shell() as shell:
        for number in range(RECORDS):
            shell.run("portfolio-halt", "--reason", f"reason {number}")
        yield shell


@pytest.fixture
def export(used: Shell, tmp_path: Path) -> Path:
    target = tmp_path / "export.jsonl"
    done = used.run("audit", "export", "--output", str(target))
    assert (done.returncode, target.stat().st_mode & 0o777) == (0, 0o600)
    return target


def test_tail_shows_the_newest_records_and_filters_by_type(used: Shell) -> None:
    text = used.run("audit", "tail", "-n", "2").stdout
    records = [json.loads(line) for line in used.run("audit", "tail", "--json").stdout.splitlines()]
    others = used.run("audit", "tail", "--type", "ORDER_PLACED", "--json")

    assert "reason 2" in text
    assert "reason 3" in text
    assert "reason 1" not in text
    assert [record["seq"] for record in records] == [1, 2, 3, 4]
    assert records[0]["actor"]["auth"] == "local-shell"
    assert (others.returncode, others.stdout) == (0, "")
    assert used.run("audit", "tail", "--type", "NO_SUCH_TYPE").returncode == 2


def test_the_store_and_its_export_verify_and_agree_on_the_head(used: Shell, export: Path) -> None:
    """AUD-06: the export is verified where there is neither store nor setting."""
    inside = used.json("audit", "verify")
    with new_shell() as elsewhere:
        outside = elsewhere.json("audit", "verify", str(export))
    text = used.run("audit", "verify", "--expect-head", inside["head"])

    assert inside["ok"] is outside["ok"] is True
    assert inside["records"] == RECORDS
    assert inside["head"] == outside["head"]
    assert (text.returncode, f"Head {inside['head']}" in text.stdout) == (0, True)


def test_a_changed_a_missing_and_a_cut_off_record_are_named(used: Shell, export: Path) -> None:
    lines = export.read_text(encoding="utf-8").splitlines(keepends=True)
    head = used.json("audit", "verify")["head"]

    def verified(damaged: list[str], *options: str) -> tuple[int, str]:
        export.write_text("".join(damaged), encoding="utf-8")
        done = used.run("audit", "verify", str(export), *options)
        return done.returncode, done.stderr

    changed = [line.replace("reason 2", "reason two") for line in lines]
    assert verified(changed) == (1, _told(3, "Record 3 was changed"))
    assert verified(lines[:1] + lines[2:]) == (1, _told(2, "Record 2 is missing"))
    assert verified(lines[:2], "--expect-head", head) == (1, _told(3, "The tail is cut off"))
    assert verified(lines[:2])[0] == 0  # without a head noted elsewhere nobody can tell


class _told:
    """Equals a text that names the record and says what is wrong with it."""

    def __init__(self, record: int, reason: str) -> None:
        self.parts = (f"record {record} is the first bad one", reason)

    def __eq__(self, text: object) -> bool:
        return isinstance(text, str) and all(part in text for part in self.parts)

    def __repr__(self) -> str:
        return f"text with {self.parts}"


def test_an_export_never_overwrites_by_itself_and_needs_a_name(used: Shell, export: Path) -> None:
    """AUD-08."""
    again = used.run("audit", "export", "--output", str(export))
    replaced = used.run("audit", "export", "--output", str(export), "--replace")
    nameless = used.run("audit", "export")
    named = used.run("audit", "export", IBKR_AUDIT_LOG_FILE=str(used.state / "audit.jsonl"))

    assert (again.returncode, "EXPORT_EXISTS" in again.stderr) == (1, True)
    assert replaced.returncode == named.returncode == 0
    assert (nameless.returncode, "IBKR_AUDIT_LOG_FILE" in nameless.stderr) == (1, True)
    assert len((used.state / "audit.jsonl").read_text().splitlines()) == RECORDS


def test_reading_commands_make_no_store(shell: Shell) -> None:
    for command in (["audit", "tail"], ["audit", "verify"], ["status"]):
        done = shell.run(*command)
        assert (done.returncode, "STORE_MISSING" in done.stderr) == (1, True)
    assert not list(shell.state.iterdir())
