"""Several operators: a role belongs to a credential, a code is good once, and two people are two."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from filelock import FileLock
from pyotp import TOTP

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.log import tail
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.errors import Fault, Refused, Unavailable
from ibkr_mcp_server.safety import credentials
from ibkr_mcp_server.safety.approval_queue import DUAL_SECONDS, ApprovalQueue, SecondPersonNeeded
from ibkr_mcp_server.safety.operator import OperatorDoor, OperatorProof
from ibkr_mcp_server.safety.roles import LEAST, Power, Role, may
from ibkr_mcp_server.store.database import Database
from tests.private_state import lay_tables
from tests.stores import an_audit_log

WORDS = "correct horse battery {}"


class House:
    """A state directory with its people."""

    def __init__(self, path: Path) -> None:
        self.clock = ManualClock()
        self.path = path / "operator.json"
        self.database = Database.open(lay_tables(path / "state.db"))
        self.audit = an_audit_log(self.database, self.clock)
        self.door = OperatorDoor(path=self.path, database=self.database, audit=self.audit, clock=self.clock)
        self.queue = ApprovalQueue(database=self.database, audit=self.audit, clock=self.clock)

    async def first(self, name: str = "ann") -> OperatorProof:
        await self.door.set_passphrase(WORDS.format(name), claimed_name=name)
        return await self.proof(name)

    async def proof(self, name: str, power: Power = Power.LOOK, code: str | None = None) -> OperatorProof:
        return await self.door.open(WORDS.format(name), claimed_name=name, power=power, code=code)

    async def add(self, name: str, role: Role, by: OperatorProof, *, with_code: bool = False) -> str | None:
        return await self.door.add(name, role, WORDS.format(name), by, with_code=with_code)

    def told(self, event: EventType) -> list[tuple[str, object]]:
        found = self.database.read_blocking(lambda connection: tail(connection, 100, event))
        return [(record.actor["id"], record.outcome) for record in found]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setitem(credentials._COST, "n", 16)  # the real cost is for attackers, not for tests
    made = House(tmp_path)
    yield made
    made.database.close()


def test_each_role_may_what_those_below_it_may() -> None:
    """KS-19, and the table of 3.2."""
    powers = [{power for power in Power if may(role, power)} for role in Role]
    assert powers == sorted(powers, key=len)
    assert all(less < more for less, more in pairwise(powers))
    assert LEAST[Power.HALT_STRATEGY] is Role.OPERATOR
    assert LEAST[Power.RESUME_STRATEGY] is Role.SENIOR
    assert LEAST[Power.CLOSE_PORTFOLIO] is Role.RISK_MANAGER
    assert LEAST[Power.RESET] is LEAST[Power.MANAGE_OPERATORS] is Role.ADMIN


async def test_a_role_belongs_to_the_credential_and_not_to_a_typed_name(house: House) -> None:
    """KS-19, T-16: a right passphrase under another name proves nobody, and a role that does not reach is recorded."""
    ann = await house.first()
    assert (ann.role, ann.actor.id) == (Role.ADMIN, "ann")
    await house.add("ben", Role.OPERATOR, ann)

    with pytest.raises(Refused, match="WRONG_PASSPHRASE"):
        await house.door.open(WORDS.format("ben"), claimed_name="ann", power=Power.RESET)
    with pytest.raises(Refused, match="WRONG_PASSPHRASE"):
        await house.door.open(WORDS.format("ann"), claimed_name="cto", power=Power.RESET)
    with pytest.raises(Refused, match="ROLE_TOO_LOW"):
        await house.proof("ben", Power.RESET)
    assert house.told(EventType.AUTH_FAILED)[-1] == (
        "ben", {"needs": "admin", "role": "operator", "wanted": "reset the kill switch"},
    )  # fmt: skip
    ben = await house.proof("ben", Power.HALT_STRATEGY)
    with pytest.raises(Refused, match="ROLE_TOO_LOW"):
        await house.add("eve", Role.ADMIN, ben)
    with pytest.raises(Refused, match="ROLE_TOO_LOW"):
        await house.door.remove("ann", ben)
    with pytest.raises(Refused, match="LAST_ADMIN"):
        await house.door.remove("ann", ann)
    with pytest.raises(Refused, match="OPERATOR_EXISTS"):
        await house.add("ben", Role.ADMIN, ann)
    with pytest.raises(Refused, match="OPERATOR_NAME"):
        await house.add("ben; rm", Role.VIEWER, ann)
    await house.door.remove("ben", ann)
    with pytest.raises(Refused, match="WRONG_PASSPHRASE"):
        await house.proof("ben")
    assert [one.name for one in house.door.operators()] == ["ann"]


async def test_a_one_time_code_is_needed_besides_the_passphrase_and_is_good_once(house: House) -> None:
    """KS-16: its key lies sealed by the passphrase, so that the file alone makes no code."""
    key = await house.add("ben", Role.ADMIN, await house.first(), with_code=True)
    assert key is not None
    stored = house.path.read_text()
    assert key not in stored
    assert base64.b32decode(key).hex() not in stored

    code = TOTP(key).at(house.clock.now())
    for wrong in (None, "", "000000" if code != "000000" else "111111"):
        with pytest.raises(Refused, match="WRONG_PASSPHRASE"):
            await house.proof("ben", code=wrong)
    assert (await house.proof("ben", Power.RESET, code)).actor.auth == "passphrase and code"
    with pytest.raises(Refused, match="WRONG_PASSPHRASE"):
        await house.proof("ben", code=code)
    await house.clock.advance(30)
    proof = await house.proof("ben", code=TOTP(key).at(house.clock.now()))
    await house.door.replace_passphrase("another horse battery", WORDS.format("ben"), proof)
    await house.clock.advance(60)
    fresh = TOTP(key).at(house.clock.now())
    assert (await house.door.open("another horse battery", claimed_name="ben", code=fresh)).role is Role.ADMIN


async def test_the_single_passphrase_of_earlier_versions_belongs_to_an_admin(house: House) -> None:
    old = credentials.sealed("x", Role.ADMIN, WORDS.format("operator"), code_key=None, since="")
    house.path.write_text(json.dumps({"scheme": "scrypt", **old.cost, "salt": old.salt, "hash": old.hash}))
    assert (await house.proof("operator", Power.RESET)).role is Role.ADMIN
    house.path.write_text('{"scheme": "scrypt", "operators": [{"name": "eve"}]}')
    with pytest.raises(Fault, match="OPERATORS_UNREADABLE"):
        await house.proof("eve")


async def test_two_different_people_approve_within_a_quarter_of_an_hour(house: House) -> None:
    """KS-17: the same person twice is one person; what was approved is that and nothing else."""
    ann = await house.first()
    await house.add("ben", Role.ADMIN, ann)
    await house.add("cat", Role.OPERATOR, ann)
    ben, cat = await house.proof("ben"), await house.proof("cat")

    async def both(proof: OperatorProof, generation: int = 3) -> None:
        await house.queue.two_people(
            "reset", {"generation": generation}, terms=("End it",), reason="seen", power=Power.RESET, proof=proof
        )

    with pytest.raises(SecondPersonNeeded) as waiting:
        await both(ann)
    identity = waiting.value.approval.approval_id
    with pytest.raises(Refused, match="SAME_PERSON"):
        await both(ann)
    with pytest.raises(Refused, match="SAME_PERSON"):
        await house.queue.approve(identity, ann)
    with pytest.raises(Refused, match="ROLE_TOO_LOW"):
        await house.queue.approve(identity, cat)
    with pytest.raises(SecondPersonNeeded):
        await both(ben, generation=4)  # of another stop
    await both(ben)
    assert house.database.run_blocking(lambda c: house.queue.use(c, "reset", {"generation": 4})) is None
    used = house.database.run_blocking(lambda c: house.queue.use(c, "reset", {"generation": 3}))
    assert used is not None
    assert [vote.principal for vote in used.votes] == ["ann", "ben"]
    assert house.database.run_blocking(lambda c: house.queue.use(c, "reset", {"generation": 3})) is None
    granted = [(who, told["approved_by"]) for who, told in house.told(EventType.APPROVAL_GRANTED)]  # type: ignore[index]
    assert granted == [("ann", ["ann"]), ("ben", ["ben"]), ("ben", ["ann", "ben"])]
    assert len(house.told(EventType.APPROVAL_REQUESTED)) == 2

    with pytest.raises(SecondPersonNeeded) as late:
        await both(ann, generation=5)
    await house.clock.advance(DUAL_SECONDS)
    with pytest.raises(Refused, match="EXPIRED"):
        await house.queue.approve(late.value.approval.approval_id, ben)
    with pytest.raises(SecondPersonNeeded):
        await both(ben, generation=5)  # the first word has run out: this is a first one again


async def test_anybody_from_operator_up_may_say_no_and_a_no_is_the_end(house: House) -> None:
    ann = await house.first()
    for name, role in (("ben", Role.ADMIN), ("cat", Role.OPERATOR), ("dan", Role.VIEWER)):
        await house.add(name, role, ann)
    subject = {"generation": 3}
    asked = {"terms": ("End it",), "reason": "seen", "power": Power.RESET}
    with pytest.raises(SecondPersonNeeded) as waiting:
        await house.queue.two_people("reset", subject, proof=ann, **asked)  # type: ignore[arg-type]
    identity = waiting.value.approval.approval_id
    with pytest.raises(Refused, match="ROLE_TOO_LOW"):
        await house.queue.refuse(identity, await house.proof("dan"), "no")
    await house.queue.refuse(identity, await house.proof("cat"), "not yet")
    with pytest.raises(Refused, match="APPROVAL_NOT_OPEN"):
        await house.queue.approve(identity, await house.proof("ben"))
    with pytest.raises(Refused, match="APPROVAL_UNKNOWN"):
        await house.queue.approve("NOBODY00", ann)
    [(who, told)] = house.told(EventType.APPROVAL_DENIED)
    assert (who, told["reason"], told["state"]) == ("cat", "not yet", "DENIED")  # type: ignore[index]


async def test_of_two_processes_that_use_one_code_at_once_one_is_let_in(house: House) -> None:
    key = await house.add("ben", Role.ADMIN, await house.first(), with_code=True)
    assert key is not None
    other = OperatorDoor(path=house.path, database=house.database, audit=house.audit, clock=house.clock)
    code = TOTP(key).at(house.clock.now())
    tries = (one.open(WORDS.format("ben"), claimed_name="ben", code=code) for one in (house.door, other))
    answers = await asyncio.gather(*tries, return_exceptions=True)
    assert [isinstance(answer, Refused) for answer in answers].count(True) == 1


async def test_what_cannot_be_proved_or_kept_is_told_and_changes_nothing(house: House) -> None:
    with pytest.raises(Refused, match="NO_PASSPHRASE"):
        await house.proof("ann")
    ann = await house.first()
    kept = house.path.read_bytes()
    with pytest.raises(Refused, match="PASSPHRASE_EXISTS"):
        await house.door.set_passphrase(WORDS.format("eve"), claimed_name="eve")
    with pytest.raises(Refused, match="WRONG_PASSPHRASE"):
        await house.door.replace_passphrase(WORDS.format("new"), WORDS.format("eve"), ann)
    with pytest.raises(Refused, match="OPERATOR_UNKNOWN"):
        await house.door.remove("eve", ann)
    assert house.path.read_bytes() == kept


async def test_who_is_removed_while_they_type_is_not_let_in(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """KS-16: the hash takes a tenth of a second, in which another admin may act."""
    ann = await house.first()
    key = await house.add("ben", Role.ADMIN, ann, with_code=True)
    assert key is not None
    opened, path = credentials.opened, house.path

    def and_meanwhile_removed(credential: credentials.Credential | None, passphrase: str) -> credentials.Opened | None:
        found = opened(credential, passphrase)
        stored = json.loads(path.read_text())
        stored["operators"] = [one for one in stored["operators"] if one["name"] != "ben"]
        path.write_text(json.dumps(stored))
        return found

    monkeypatch.setattr(credentials, "opened", and_meanwhile_removed)
    with pytest.raises(Refused, match="WRONG_PASSPHRASE"):
        await house.proof("ben", code=TOTP(key).at(house.clock.now()))


@pytest.mark.parametrize(
    "stored", ['{"scheme": "rot13", "operators": []}', '{"scheme": "scrypt", "operators": 7}', "[]", "no JSON"]
)
async def test_a_file_of_operators_that_is_none_of_ours_lets_nobody_in(house: House, stored: str) -> None:
    await house.first()
    house.path.write_text(stored)
    with pytest.raises(Fault, match="OPERATORS_UNREADABLE"):
        await house.proof("ann")


async def test_a_file_of_operators_that_cannot_be_read_or_is_being_changed_is_told_as_that(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "_LOCK_SECONDS", 0.01)
    ann = await house.first()
    with FileLock(str(house.path.with_suffix(".lock"))), pytest.raises(Unavailable, match="OPERATORS_BUSY"):
        await house.add("ben", Role.VIEWER, ann)
    house.path.unlink()
    house.path.mkdir()
    with pytest.raises(Fault, match="OPERATORS_UNREADABLE"):
        await house.proof("ann")
