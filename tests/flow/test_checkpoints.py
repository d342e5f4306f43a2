"""Signed checkpoints of the audit log: a tail that was cut off and a chain that was written anew are noticed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from ibkr_mcp_server.audit.chain import Head
from ibkr_mcp_server.audit.checkpoints import CheckpointFile
from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import head
from ibkr_mcp_server.audit.verify import verify_database
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.operations import SYSTEM
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store.database import Database
from tests.harness import running


def cut_off(store: Path, last: int) -> None:
    """What somebody with write access to the store can do."""
    with closing(sqlite3.connect(store)) as connection, connection:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("DELETE FROM audit_log WHERE seq > ?", (last,))


async def test_checkpoints_are_written_by_time_and_by_number_and_a_missing_tail_stops_the_next_start(
    tmp_path: Path,
) -> None:
    """AUD-05, SU-05, T-53: the chain that is left verifies by itself, and yet its end is missed."""
    clock = ManualClock()
    async with PaperGateway(clock=clock) as gateway:
        async with running(tmp_path, gateway, clock) as world:
            desk, file = world.app.desk, CheckpointFile(path=world.state.audit_checkpoints, key=world.state.audit_key)
            assert file.newest().head is None
            await clock.advance(61)
            await world.app.checkpointer.look()
            first = file.newest().head
            assert first is not None
            await world.app.checkpointer.look()
            assert file.newest().head == first, "nothing was recorded since but the checkpoint itself"
            records = await world.records(EventType.CHAIN_CHECKPOINT)
            assert [record.outcome for record in records] == [{"head_seq": first.seq, "head_hash": first.hash}]
            many = [AuditEvent(type=EventType.SAFETY_VIOLATION, actor=SYSTEM)] * 1_000
            await desk.database.run(lambda connection: desk.audit.append(connection, *many))
            await world.app.checkpointer.look()
            assert file.newest().head != first, "a thousand records do not wait for the minute"

            world.state.audit_checkpoints.rename(tmp_path / "kept")
            world.state.audit_checkpoints.mkdir()  # as unusable as a full disk
            await desk.audit.record(AuditEvent(type=EventType.SAFETY_VIOLATION, actor=SYSTEM))
            await clock.advance(61)
            await world.app.checkpointer.look()
            [warning] = (await world.call("get_safety_status"))["warnings"]
            assert "gets no checkpoints" in warning
            world.state.audit_checkpoints.rmdir()
            (tmp_path / "kept").rename(world.state.audit_checkpoints)
            await world.app.checkpointer.look()
            assert not desk.notices.told()

        newest = file.newest().head
        assert newest is not None
        cut_off(world.state.database, newest.seq - 2)
        database = Database.open(world.state.database)
        assert verify_database(database).ok, "the chain alone knows nothing of its end"
        report = verify_database(database, expected_head=newest)
        assert (report.ok, report.first_bad_seq) == (False, newest.seq - 1)
        assert database.read_blocking(head).seq == newest.seq - 2
        database.close()
        async with running(tmp_path, gateway, clock, wait=False) as world:
            await world.until(lambda: world.app.desk.safety.readiness.chain_problem)
            status = await world.call("get_safety_status")
            assert status["effective_state"] == "HALT"
            assert "The audit log does not verify" in status["causes"][0]["reason"]


def test_a_checkpoint_that_was_not_signed_here_is_noticed(tmp_path: Path) -> None:
    """AUD-05: neither another key nor a changed line nor a lost key passes."""

    def file(key: str) -> CheckpointFile:
        return CheckpointFile(path=tmp_path / "checkpoints", key=tmp_path / key)

    clock = ManualClock()
    for seq in (3, 5):
        file("key").add(Head(seq, f"{seq:064}"), clock.now())
    assert (file("key").newest().head, file("key").newest().problem) == (Head(5, f"{5:064}"), None)
    assert "missing or no key" in (file("lost").newest().problem or "")
    good = (tmp_path / "checkpoints").read_text()
    for bad in (good.replace('"seq": 5', '"seq": 4'), good + "{}\n", good + "nonsense\n", good[:-20] + "\n"):
        (tmp_path / "checkpoints").write_text(bad)
        assert "was not signed here" in (file("key").newest().problem or "")
    (tmp_path / "checkpoints").write_text(good)
    file("other").add(Head(6, "6" * 64), clock.now())
    assert "Line 3" in (file("key").newest().problem or "")
    assert ((tmp_path / "key").stat().st_mode & 0o777, (tmp_path / "checkpoints").stat().st_mode & 0o777) == (
        0o600,
        0o600,
    )
