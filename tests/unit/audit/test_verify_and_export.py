"""Verification names the first bad record; an export can be verified anywhere."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection

from ibkr_mcp_server.audit.chain import GENESIS, ChainReader, Head, digest
from ibkr_mcp_server.audit.checkpoints import CheckpointFile, Newest
from ibkr_mcp_server.audit.export import export_log
from ibkr_mcp_server.audit.log import AuditLog, tail
from ibkr_mcp_server.audit.verify import VerifyReport, records_of_export, verify_database, verify_export
from ibkr_mcp_server.errors import Fault, Refused
from ibkr_mcp_server.store.database import Database
from tests.stores import NOON, an_event
from tests.unit.audit.divided import divide

FIELDS = {
    *("seq", "timestamp", "event_type", "session_id", "actor", "operation_type", "tool", "order_data"),
    *("validation_result", "outcome", "decision_id", "intent_id", "broker_ids", "config_hash", "prev_hash", "hash"),
}


@pytest.fixture
def filled(database: Database, log: AuditLog) -> Database:
    def work(connection: Connection) -> None:
        for number in range(1, 8):
            log.append(connection, an_event(decision_id=f"d{number}", tool='quote "é" \\ \x00'))

    database.run_blocking(work)
    return database


@pytest.fixture
def lines(filled: Database, tmp_path: Path) -> list[str]:
    export_log(filled, tmp_path / "audit.jsonl")
    return (tmp_path / "audit.jsonl").read_text().splitlines(keepends=True)


def test_an_export_holds_the_documented_fields_and_verifies_like_the_store(filled: Database, lines: list[str]) -> None:
    """AUD-02, AUD-03, AUD-06."""
    assert [set(json.loads(line)) for line in lines] == [FIELDS] * 7
    assert json.loads(lines[3])["tool"] == 'quote "é" \\ \x00'
    report = verify_export(lines)
    assert report == verify_database(filled)
    assert (report.ok, report.records, report.sessions, report.first_bad_seq) == (True, 7, 1, None)
    assert report.head == Head(7, json.loads(lines[-1])["hash"])


def test_an_export_that_another_program_wrote_anew_still_verifies(lines: list[str]) -> None:
    rewritten = [json.dumps(dict(reversed(json.loads(line).items())), indent=None) for line in lines]
    assert verify_export(rewritten).ok


def test_an_empty_log_is_whole(database: Database) -> None:
    assert verify_database(database).head == verify_export([]).head == GENESIS
    assert verify_export([]).ok


def changed(line: str, **fields: object) -> str:
    return json.dumps(json.loads(line) | fields, sort_keys=True, separators=(",", ":"))


@pytest.mark.parametrize(
    ("tamper", "bad", "reason"),
    [
        (lambda x: [*x[:2], x[2].replace("190.50", "19.50"), *x[3:]], 3, "was changed"),
        (lambda x: [*x[:2], changed(x[2], outcome={"ok": True}), *x[3:]], 3, "was changed"),
        (lambda x: [*x[:2], changed(x[2], timestamp="2020-01-01T00:00:00.000000Z"), *x[3:]], 3, "was changed"),
        (lambda x: [*x[:2], *x[3:]], 3, "Record 3 is missing"),
        (lambda x: [*x[:2], *x[5:]], 3, "Records 3 to 5 are missing"),
        (lambda x: x[2:], 1, "Records 1 to 2 are missing"),
        (lambda x: [x[0], x[2], x[1], *x[3:]], 2, "Record 2 is missing"),
        (lambda x: [*x[:3], x[1], *x[3:]], 2, "inserted, repeated or reordered"),
        (lambda x: [*x[:3], changed(x[3], prev_hash="0" * 64), *x[4:]], 4, "was changed"),
        (lambda x: [*x[:3], "\n", *x[3:]], 4, "not an audit record"),
        (lambda x: [*x[:3], x[3][:40]], 4, "not an audit record"),
        (lambda x: [*x[:3], "[]", *x[3:]], 4, "not an audit record"),
        (lambda x: [*x[:3], changed(x[3], seq="4"), *x[4:]], 4, "not an audit record"),
    ],
)
def test_tampering_with_an_export_names_the_first_bad_record(
    lines: list[str], tamper: Callable[[list[str]], list[str]], bad: int, reason: str
) -> None:
    """AUD-05."""
    report = verify_export(tamper(lines))
    assert not report.ok
    assert report.first_bad_seq == bad
    assert reason in (report.reason or "")


def test_a_forged_record_breaks_the_link_of_the_next(lines: list[str]) -> None:
    forged = json.loads(lines[2]) | {"outcome": {"ok": True}}
    del forged["hash"]
    forged["hash"] = digest(json.dumps(forged, sort_keys=True, separators=(",", ":")))
    report = verify_export([*lines[:2], json.dumps(forged), *lines[3:]])
    assert (report.first_bad_seq, "one of the two was replaced" in (report.reason or "")) == (4, True)


def test_a_cut_tail_and_a_rewritten_chain_show_against_a_head_noted_elsewhere(lines: list[str]) -> None:
    """Invariant 9, T-53."""
    head = verify_export(lines).head
    assert verify_export(lines[:5]).ok
    cut = verify_export(lines[:5], expected_head=head)
    assert (cut.ok, cut.first_bad_seq) == (False, 6)
    assert cut.reason == "The tail is cut off: records 6 to 7 are missing."
    assert not verify_export([], expected_head=head).ok
    assert verify_export(lines, expected_head=head).ok
    older = Head(3, json.loads(lines[2])["hash"])
    assert verify_export(lines, expected_head=older).ok
    assert verify_export(lines, expected_head=Head(3, "0" * 64)).first_bad_seq == 3


def test_a_divided_export_verifies_part_by_part(lines: list[str]) -> None:
    """AUD-08: rotation keeps the chain."""
    first = verify_export(lines[:4])
    assert verify_export(lines[4:], follows=first.head).ok
    assert not verify_export(lines[5:], follows=first.head).ok


REBUILT = """
CREATE TABLE other AS SELECT * FROM audit_log; DROP TABLE audit_log; ALTER TABLE other RENAME TO audit_log"""
OF_A_REBUILT_TABLE = [
    ("seq = 2 WHERE seq = 3", 2),
    ("seq = NULL WHERE seq = 3", 1),
    ("seq = 'three' WHERE seq = 7", 7),
    ("seq = x'03' WHERE seq = 3", 3),
    ("hash = NULL WHERE seq = 3", 3),
    ("prev_hash = NULL WHERE seq = 3", 3),
]
"""Without its key and its constraints, a table takes any number."""


@pytest.mark.parametrize(
    ("statement", "bad"),
    [
        ("UPDATE audit_log SET outcome = '{}' WHERE seq = 3", 3),
        ("UPDATE audit_log SET tool = NULL WHERE seq = 3", 3),
        ("UPDATE audit_log SET timestamp = 'é' WHERE seq = 3", 3),
        ("DELETE FROM audit_log WHERE seq = 3", 3),
        ("DELETE FROM audit_log WHERE seq = 1", 1),
        ("UPDATE audit_log SET seq = -seq WHERE seq = 3", -3),
        ("UPDATE audit_log SET tool = CAST(x'ff' AS TEXT) WHERE seq = 3", 3),
        ("UPDATE audit_log SET tool = CAST(x'ff' AS TEXT) WHERE seq = 1", 1),
        ("UPDATE audit_log SET hash = CAST(x'ff' AS TEXT) WHERE seq = 7", 7),
        ("UPDATE audit_log SET order_data = CAST(order_data AS BLOB) WHERE seq = 3", 3),
        ("UPDATE audit_log SET session_id = CAST(session_id AS BLOB) WHERE seq = 3", 3),
        ("UPDATE audit_log SET prev_hash = CAST(prev_hash AS BLOB) WHERE seq = 3", 3),
        ("UPDATE audit_log SET hash = CAST(hash AS BLOB) WHERE seq = 3", 3),
        ("UPDATE audit_log SET decision_id = 3 WHERE seq = 3", 3),
        ("UPDATE audit_log SET actor = 0 WHERE seq = 3", 3),
        ("UPDATE audit_log SET outcome = '' WHERE seq = 3", 3),
        ("UPDATE audit_log SET intent_id = '' WHERE seq = 3", 3),
        ("UPDATE audit_log SET config_hash = config_hash || '\"' WHERE seq = 3", 3),
        ('UPDATE audit_log SET decision_id = \'d3","event_type":"DECISION\' WHERE seq = 3', 3),
        ("UPDATE audit_log SET timestamp = timestamp || char(0) WHERE seq = 3", 3),
        *((f"{REBUILT}; UPDATE audit_log SET {change}", bad) for change, bad in OF_A_REBUILT_TABLE),
    ],
)
def test_tampering_with_the_store_names_the_first_bad_record(
    filled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str, bad: int
) -> None:
    def work(connection: Connection) -> None:
        for name in ("audit_log_no_update", "audit_log_no_delete"):
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        for each in statement.split("; "):
            connection.exec_driver_sql(each)

    filled.run_blocking(work)
    report = verify_database(filled)
    assert (report.ok, report.first_bad_seq) == (False, bad)
    exported = export_log(filled, tmp_path / "audit.jsonl")
    assert exported == report, "what the log has become is exported all the same"
    followed = divide(monkeypatch)
    assert verify_database(filled, processes=3) == report, "the parts find no less"
    assert followed or "seq = " in statement or "DELETE" in statement


def test_a_broken_log_is_exported_whole_as_evidence(filled: Database, tmp_path: Path) -> None:
    def work(connection: Connection) -> None:
        connection.exec_driver_sql("DROP TRIGGER audit_log_no_update")
        connection.exec_driver_sql("UPDATE audit_log SET tool = 'other' WHERE seq = 2")

    filled.run_blocking(work)
    report = export_log(filled, tmp_path / "audit.jsonl")
    assert report.first_bad_seq == 2
    assert len((tmp_path / "audit.jsonl").read_text().splitlines()) == 7


def test_an_export_is_private_whole_and_never_overwrites_by_itself(filled: Database, tmp_path: Path) -> None:
    target = tmp_path / "audit.jsonl"
    target.write_text("mine")
    with pytest.raises(Refused, match="exists already"):
        export_log(filled, target)
    assert target.read_text() == "mine"
    report: VerifyReport = export_log(filled, target, replace=True)
    assert report.ok
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["audit.jsonl"]


def test_an_export_that_fails_leaves_no_file(filled: Database, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        export_log(filled, tmp_path / "missing" / "audit.jsonl")
    filled.close()
    with pytest.raises(Exception, match="closed already"):
        export_log(filled, tmp_path / "audit.jsonl")
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == []


def test_an_export_whose_name_is_taken_while_it_is_written_overwrites_nothing(
    filled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "audit.jsonl"
    synced = os.fsync

    def and_meanwhile_taken(descriptor: int) -> None:
        synced(descriptor)
        target.write_text("mine")

    monkeypatch.setattr("ibkr_mcp_server.audit.export.os.fsync", and_meanwhile_taken)
    with pytest.raises(Refused, match="exists already"):
        export_log(filled, target)
    assert target.read_text() == "mine"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["audit.jsonl"]


def test_reading_records_of_an_export_ends_at_the_first_line_that_is_none(lines: list[str]) -> None:
    """What follows it proves nothing."""
    chain = ChainReader()
    types = {json.loads(line)["event_type"] for line in lines}
    found = list(records_of_export([*lines[:2], "no record", *lines[2:]], chain, types))
    assert [record["seq"] for record in found] == [1, 2]
    assert "Line 3 is not an audit record" in str(chain.reason)


def test_a_record_that_cannot_be_read_is_told_instead_of_left_out(filled: Database) -> None:
    def work(connection: Connection) -> None:
        connection.exec_driver_sql("DROP TRIGGER audit_log_no_update")
        connection.exec_driver_sql("UPDATE audit_log SET event_type = 'NO_SUCH_TYPE' WHERE seq = 2")

    filled.run_blocking(work)
    with pytest.raises(Fault, match="Audit record 2 cannot be read"):
        filled.read_blocking(lambda connection: tail(connection, 100))


def test_checkpoints_that_cannot_be_read_or_have_half_a_key_are_told_and_never_taken_for_none(tmp_path: Path) -> None:
    """AUD-05: a start without them would not notice that the log was cut."""
    file = CheckpointFile(path=tmp_path / "checkpoints", key=tmp_path / "key")
    assert file.newest() == Newest(head=None)
    file.add(Head(1, "a" * 64), NOON)
    assert file.newest() == Newest(head=Head(1, "a" * 64))
    (tmp_path / "key").write_text("abcd\n")
    assert "is missing or no key" in str(file.newest().problem)
    with pytest.raises(ValueError, match="shorter than 32 bytes"):
        file.add(Head(2, "b" * 64), NOON)
    (tmp_path / "checkpoints").unlink()
    (tmp_path / "checkpoints").mkdir()
    assert "cannot be read" in str(file.newest().problem)
