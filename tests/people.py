"""People who prove themselves to a running server, as the commands make them do at a terminal."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from ibkr_mcp_server.safety import credentials
from ibkr_mcp_server.safety.approval_queue import ApprovalQueue
from ibkr_mcp_server.safety.operator import OperatorDoor, OperatorProof
from ibkr_mcp_server.safety.roles import Role
from tests.harness import World

WORDS = "correct horse battery {}"


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


async def confirmed(world: World, proof: OperatorProof, quantity: float = 1) -> dict[str, Any]:
    """A resting buy that `proof` confirms as `approve` does, from its preparation to the broker's word."""
    prepared = await world.call("prepare_order", tool="place_limit_order", arguments=world.resting(quantity))
    await queue(world).approve(prepared["approval"], proof)
    return await world.call("commit_order", ticket=prepared["ticket"])


def queue(world: World) -> ApprovalQueue:
    """The queue that `approvals`, `approve` and `deny` serve."""
    desk = world.app.desk
    return ApprovalQueue(database=desk.database, audit=desk.audit, clock=world.clock)
