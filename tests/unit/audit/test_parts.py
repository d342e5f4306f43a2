"""A long log is followed in parts at once, and what comes of it is what following it from its first record gives."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import Connection

from ibkr_mcp_server.audit import parts
from ibkr_mcp_server.audit.chain import GENESIS, Head, body_of, digest
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.audit.parts import Part, in_processes
from ibkr_mcp_server.audit.verify import stored_rows, verify_database
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.store.database import Database
from tests.stores import an_audit_log, an_event
from tests.unit.audit.divided import divide

RECORDS = 11


@pytest.fixture
def filled(database: Database, log: AuditLog, clock: ManualClock) -> Database:
    """Two runs wrote it."""
    another = an_audit_log(database, clock)

    def work(connection: Connection) -> None:
        log.append(connection, *[an_event(decision_id=f"d{number}") for number in range(7)])
        another.append(connection, *[an_event(decision_id=f"e{number}") for number in range(RECORDS - 7)])

    database.run_blocking(work)
    return database


def hashes(database: Database) -> list[str]:
    return [GENESIS.hash, *(row[-1] for row in database.read_blocking(lambda c: list(stored_rows(c))))]


def test_processes_follow_the_parts_of_a_whole_log(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """AUD-06."""
    answers = []

    def noted(these: Sequence[Part]) -> list[set[str] | None]:
        answers.extend(in_processes(these))
        return answers

    monkeypatch.setattr(parts, "PART", 5)
    monkeypatch.setattr(parts, "in_processes", noted)
    report = verify_database(filled, processes=8)
    assert (report.ok, report.records, report.sessions) == (True, RECORDS, 2)
    assert [len(sessions or ()) for sessions in answers] == [1, 2]
    assert report == verify_database(filled)


@pytest.mark.parametrize("processes", range(2, RECORDS + 2))
def test_the_parts_are_even_and_leave_out_nothing(
    filled: Database, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    followed = divide(monkeypatch, records=1)
    assert verify_database(filled, processes=processes) == verify_database(filled)
    assert len(followed) == min(processes, parts.MOST)
    assert (followed[0].start, followed[-1].end.seq) == (GENESIS, RECORDS)
    assert all(one.end == next_one.start for one, next_one in pairwise(followed))
    lengths = [part.end.seq - part.start.seq for part in followed]
    assert max(lengths) - min(lengths) <= 1


def test_a_log_that_is_short_or_empty_is_not_divided(
    filled: Database, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = divide(monkeypatch, records=6)
    assert verify_database(filled, processes=2).records == RECORDS
    assert not followed
    filled.run_blocking(lambda connection: log.append(connection, an_event()))
    assert verify_database(filled, processes=2).records == RECORDS + 1
    assert [part.end.seq for part in followed] == [6, 12]


def test_an_empty_log_is_whole(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    followed = divide(monkeypatch, records=1)
    assert verify_database(database, processes=2).head == GENESIS
    assert not followed


@pytest.mark.parametrize("seq", range(1, RECORDS + 3))
def test_a_head_noted_elsewhere_is_looked_for_in_whichever_part_it_lies(
    filled: Database, monkeypatch: pytest.MonkeyPatch, seq: int
) -> None:
    """T-53."""
    known = [*hashes(filled), "a" * 64, "b" * 64][seq]
    divide(monkeypatch)
    for head in (Head(seq, known), Head(seq, "0" * 64)):
        report = verify_database(filled, expected_head=head, processes=4)
        assert report == verify_database(filled, expected_head=head)
        assert report.ok == (seq <= RECORDS and head.hash == known)


@pytest.mark.parametrize("seq", range(1, RECORDS + 1))
def test_a_forged_record_shows_at_the_next_though_a_part_begins_there(
    filled: Database, monkeypatch: pytest.MonkeyPatch, seq: int
) -> None:
    def forge(connection: Connection) -> None:
        row = list(stored_rows(connection))[seq - 1]
        forged = digest(body_of(row).replace("claude", "nobody"))
        connection.exec_driver_sql("DROP TRIGGER audit_log_no_update")
        connection.exec_driver_sql(
            "UPDATE audit_log SET actor = replace(actor, 'claude', 'nobody'), hash = ? WHERE seq = ?", (forged, seq)
        )

    filled.run_blocking(forge)
    divide(monkeypatch, records=1)
    for processes in range(2, 6):
        report = verify_database(filled, processes=processes)
        assert report.first_bad_seq == (seq + 1 if seq < RECORDS else None), "only a checkpoint tells of the last one"
        assert report == verify_database(filled)


def test_a_process_that_gives_no_answer_costs_time_only(
    filled: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nowhere = [Part(tmp_path / "nothing.db", GENESIS, Head(1, "0" * 64), None)] * 2
    with pytest.raises(EOFError):
        in_processes(nowhere)
    monkeypatch.setattr(parts, "PART", 1)
    monkeypatch.setattr(parts, "in_processes", lambda _: in_processes(nowhere))
    assert verify_database(filled, processes=2) == verify_database(filled)
