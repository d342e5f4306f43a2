"""The audit log from a shell: read, verified on any machine, exported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ibkr_mcp_server.audit.chain import Head
from ibkr_mcp_server.audit.checkpoints import CheckpointFile
from ibkr_mcp_server.clock import ManualClock
from tests.surface.shell import Shell, new_shell

RECORDS = 4


@pytest.fixture(scope="module")
def used() -> Iterator[Shell]:
    """A shell whose log has some records; the tests only read it."""
    with new_shell() as shell:
        for number in range(RECORDS):
            shell.call("portfolio-halt", "--reason", f"reason {number}")
        yield shell


@pytest.fixture
def export(used: Shell, tmp_path: Path) -> Path:
    target = tmp_path / "export.jsonl"
    done = used.call("audit", "export", "--output", str(target))
    assert (done.returncode, target.stat().st_mode & 0o777) == (0, 0o600)
    return target


def test_tail_shows_the_newest_records_and_filters_by_type(used: Shell) -> None:
    text = used.call("audit", "tail", "-n", "2").stdout
    records = [json.loads(line) for line in used.call("audit", "tail", "--json").stdout.splitlines()]
    others = used.call("audit", "tail", "--type", "ORDER_PLACED", "--json")

    assert "reason 2" in text
    assert "reason 3" in text
    assert "reason 1" not in text
    assert [record["seq"] for record in records] == [1, 2, 3, 4]
    assert records[0]["actor"]["auth"] == "local-shell"
    assert (others.returncode, others.stdout) == (0, "")
    assert used.call("audit", "tail", "--type", "NO_SUCH_TYPE").returncode == 2


def test_the_store_and_its_export_verify_and_agree_on_the_head(used: Shell, export: Path) -> None:
    """AUD-06: the export is verified where there is neither store nor setting."""
    inside = used.json("audit", "verify")
    with new_shell() as elsewhere:
        outside = elsewhere.json("audit", "verify", str(export))
    text = used.call("audit", "verify", "--expect-head", inside["head"])

    assert inside["ok"] is outside["ok"] is True
    assert inside["records"] == RECORDS
    assert inside["head"] == outside["head"]
    assert (text.returncode, f"Head {inside['head']}" in text.stdout) == (0, True)


def test_a_changed_a_missing_and_a_cut_off_record_are_named(used: Shell, export: Path) -> None:
    lines = export.read_text(encoding="utf-8").splitlines(keepends=True)
    head = used.json("audit", "verify")["head"]

    def verified(damaged: list[str], *options: str) -> tuple[int, str]:
        export.write_text("".join(damaged), encoding="utf-8")
        done = used.call("audit", "verify", str(export), *options)
        return done.returncode, done.stderr

    for damaged, options, record, reason in (
        ([line.replace("reason 2", "reason two") for line in lines], (), 3, "Record 3 was changed"),
        (lines[:1] + lines[2:], (), 2, "Record 2 is missing"),
        (lines[:2], ("--expect-head", head), 3, "The tail is cut off"),
    ):
        code, told = verified(damaged, *options)
        assert (code, f"record {record} is the first bad one" in told, reason in told) == (1, True, True)
    assert verified(lines[:2])[0] == 0  # without a head noted elsewhere nobody can tell


def test_an_export_never_overwrites_by_itself_and_needs_a_name(used: Shell, export: Path) -> None:
    """AUD-08."""
    again = used.call("audit", "export", "--output", str(export))
    replaced = used.call("audit", "export", "--output", str(export), "--replace")
    nameless = used.call("audit", "export")
    named = used.call("audit", "export", IBKR_AUDIT_LOG_FILE=str(used.state / "audit.jsonl"))

    assert (again.returncode, "EXPORT_EXISTS" in again.stderr) == (1, True)
    assert replaced.returncode == named.returncode == 0
    assert (nameless.returncode, "IBKR_AUDIT_LOG_FILE" in nameless.stderr) == (1, True)
    assert len((used.state / "audit.jsonl").read_text().splitlines()) == RECORDS


def test_reading_commands_make_no_store(first_shell: Shell) -> None:
    for command in (["audit", "tail"], ["audit", "verify"], ["status"]):
        done = first_shell.call(*command)
        assert (done.returncode, "STORE_MISSING" in done.stderr) == (1, True)
    assert not list(first_shell.state.iterdir())


def test_verify_holds_the_log_and_an_export_against_the_signed_checkpoints(used: Shell, export: Path) -> None:
    """AUD-05: a checkpoint beyond the end names what is missing."""
    number, _, digest = used.json("audit", "verify")["head"].partition(":")
    file = CheckpointFile(path=used.state / "audit-checkpoints.jsonl", key=used.state / "audit.key")
    file.add(Head(int(number), digest), ManualClock().now())
    whole = used.call("audit", "verify")
    file.add(Head(int(number) + 2, "0" * 64), ManualClock().now())
    cut = used.call("audit", "verify")
    options = ("--checkpoints", str(file.path), "--key", str(used.state / "audit.key"))
    outside = used.call("audit", "verify", str(export), *options)
    (used.state / "audit.key").write_text("5" * 64)
    forged = used.call("audit", "verify")
    file.path.unlink()

    assert (whole.returncode, f"the newest of record {number}" in whole.stdout) == (0, True)
    for missing in (cut, outside):
        assert missing.returncode == 1
        assert f"records {int(number) + 1} to {int(number) + 2} are missing" in missing.stderr
    assert (forged.returncode, "was not signed here" in forged.stderr) == (1, True)
