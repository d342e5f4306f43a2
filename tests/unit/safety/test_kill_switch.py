"""The kill switch when the disk, the file or another process fails: it stays on, and says what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from sqlalchemy import Connection

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.safety import credentials, send_gate
from ibkr_mcp_server.safety.kill_switch import KillSwitch
from ibkr_mcp_server.safety.operator import OperatorDoor, OperatorProof
from ibkr_mcp_server.safety.send_gate import SendGate
from ibkr_mcp_server.store.database import Database, StoreUnavailable
from ibkr_mcp_server.store.latches import KillMode
from tests.private_state import lay_tables
from tests.stores import an_audit_log

SOMEBODY = Actor(type=ActorType.HUMAN, id="olivia", auth="local-shell")
WORDS = "correct horse battery"


class House:
    """One state directory, and the switches that its processes have."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock()
        self.database = Database.open(lay_tables(path / "state.db"))
        self.audit = an_audit_log(self.database, self.clock)
        self.sentinel = path / "KILL"
        self.switch = self.of_a_process()

    def of_a_process(self) -> KillSwitch:
        return KillSwitch(
            database=self.database,
            audit=self.audit,
            clock=self.clock,
            gate=SendGate(self.path / "send.lock"),
            sentinel=self.sentinel,
        )

    async def proof(self) -> OperatorProof:
        door = OperatorDoor(path=self.path / "people", database=self.database, audit=self.audit, clock=self.clock)
        await door.set_passphrase(WORDS, claimed_name="olivia")
        return await door.open(WORDS, claimed_name="olivia")

    async def is_stopped(self) -> bool:
        """For a process that starts now."""
        return bool((await self.database.read(self.of_a_process().bearing_on)).causes)

    async def cannot_be_written(self) -> None:
        """The next transaction finds a disk that takes nothing."""
        await self.database.run(lambda connection: connection.exec_driver_sql("PRAGMA query_only = ON").close())


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setitem(credentials._COST, "n", 16)  # the real cost is for attackers, not for tests
    made = House(tmp_path)
    yield made
    made.database.close()


async def test_a_reset_that_the_store_cannot_record_leaves_the_stop_as_it_was(house: House) -> None:
    """KS-08, KS-15: the file may be all that stops the next start, so it goes only with the record of the reset."""
    proof = await house.proof()
    house.sentinel.touch()
    await house.cannot_be_written()
    with pytest.raises(StoreUnavailable):
        await house.switch.clear(proof, "all is well")
    assert house.sentinel.exists()
    assert await house.is_stopped()


async def test_a_reset_to_which_the_second_person_does_not_consent_leaves_the_file(house: House) -> None:
    def refuses(connection: Connection) -> NoReturn:
        raise Refused("APPROVAL_OVERTAKEN", "The switch was used again since it was approved; ask anew.")

    proof = await house.proof()
    house.sentinel.touch()
    with pytest.raises(Refused, match="used again"):
        await house.switch.clear(proof, "all is well", consent=refuses)
    assert await house.is_stopped()
    await house.switch.clear(proof, "all is well")
    assert not await house.is_stopped()


async def test_a_reset_finds_nothing_to_end_or_names_the_file_that_it_cannot_remove(house: House) -> None:
    proof = await house.proof()
    with pytest.raises(Refused, match="nothing to reset"):
        await house.switch.clear(proof, "all is well")
    house.sentinel.mkdir()
    with pytest.raises(Refused, match="KILL cannot be removed") as stays:
        await house.switch.clear(proof, "all is well")
    assert stays.value.code == "SENTINEL_STAYS"
    assert await house.is_stopped()


async def test_a_stop_that_neither_store_nor_file_takes_holds_in_its_process_and_says_so(house: House) -> None:
    await house.cannot_be_written()
    house.sentinel = house.path / "gone" / "KILL"
    switch = house.of_a_process()
    stopped = await switch.activate(KillMode.HALT_ONLY, "now", SOMEBODY)
    assert (stopped.durable, stopped.first) == (False, True)
    assert "holds in this process only" in str(stopped.problem)
    assert (await house.database.read(switch.bearing_on)).causes
    assert not await house.is_stopped()


async def test_a_directory_that_cannot_be_looked_into_counts_as_a_stop(house: House) -> None:
    (house.path / "no directory").touch()
    house.sentinel = house.path / "no directory" / "KILL"
    assert await house.is_stopped()


async def test_a_stop_does_not_wait_for_ever_for_a_process_that_hangs_in_the_gate(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KS-22: it holds, and tells that something may still be on its way."""
    monkeypatch.setattr(send_gate, "MOST_SECONDS_TO_WAIT", 0.02)
    async with SendGate(house.path / "send.lock").held():
        stopped = await house.switch.activate(KillMode.HALT_ONLY, "now", SOMEBODY)
    assert (stopped.durable, stopped.nothing_in_flight) == (True, False)
    assert "held the send gate" in str(stopped.problem)
    assert await house.is_stopped()
