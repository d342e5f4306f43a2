"""People who prove themselves to a running server, as the commands make them do at a terminal."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from unittest.mock import patch

from ibkr_mcp_server.operations.limit_raises import raise_limit, read_wish
from ibkr_mcp_server.safety import credentials
from ibkr_mcp_server.safety.approval_queue import ApprovalQueue
from ibkr_mcp_server.safety.operator import OperatorDoor, OperatorProof
from ibkr_mcp_server.safety.roles import Role
from ibkr_mcp_server.store.limit_raises import LimitRaise
from tests.harness import World

WORDS = "correct horse battery {}"
PASSPHRASE = "correct horse battery staple"


async def people(world: World, **roles: Role) -> dict[str, OperatorProof]:
    """An admin named ann, and others with their roles; each has just proved themselves."""
    desk = world.app.desk
    door = OperatorDoor(path=world.state.operator, database=desk.database, audit=desk.audit, clock=world.clock)
    with patch.dict(credentials._COST, n=16):  # the real cost is for attackers, not for tests
        await door.set_passphrase(WORDS.format("ann"), claimed_name="ann")
        proofs = {"ann": await door.open(WORDS.format("ann"), claimed_name="ann")}
        for name, role in roles.items():
            await door.add(name, role, WORDS.format(name), proofs["ann"])
            proofs[name] = await door.open(WORDS.format(name), claimed_name=name)
    return proofs


async def proved(world: World, name: str = "ann") -> OperatorProof:
    """An operator of an earlier run proves themselves once more."""
    desk = world.app.desk
    door = OperatorDoor(path=world.state.operator, database=desk.database, audit=desk.audit, clock=world.clock)
    return await door.open(WORDS.format(name), claimed_name=name)


async def proof(world: World) -> OperatorProof:
    """The operator proves themselves, as `reset` makes them do at the terminal."""
    desk = world.app.desk
    door = OperatorDoor(path=world.state.operator, database=desk.database, audit=desk.audit, clock=world.clock)
    if not door.has_passphrase:
        await door.set_passphrase(PASSPHRASE, claimed_name="olivia")
    return await door.open(PASSPHRASE, claimed_name="olivia")


async def confirmed(world: World, proof: OperatorProof, quantity: float = 1) -> dict[str, Any]:
    """A resting buy that `proof` confirms as `approve` does, from its preparation to the broker's word."""
    prepared = await world.call("prepare_order", tool="place_limit_order", arguments=world.resting(quantity))
    await queue(world).approve(prepared["approval"], proof)
    return await world.call("commit_order", ticket=prepared["ticket"])


async def raised(world: World, proof: OperatorProof, value: str, until: datetime) -> LimitRaise:
    """The vote of one risk manager for a larger order value, as `limits raise` and `approve` give it."""
    desk = world.app.desk
    wish = read_wish(desk.settings, world.clock, "IBKR_MAX_ORDER_VALUE_USD", value, until)
    parts = {"database": desk.database, "audit": desk.audit, "clock": world.clock}
    return await raise_limit(wish, "a roll", proof, settings=desk.settings, queue=queue(world), **parts)  # type: ignore[arg-type]


def queue(world: World) -> ApprovalQueue:
    """The queue that `approvals`, `approve` and `deny` serve."""
    desk = world.app.desk
    return ApprovalQueue(database=desk.database, audit=desk.audit, clock=world.clock)
