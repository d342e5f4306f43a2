"""The gate in front of the socket, as several processes share it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ibkr_mcp_server.safety.send_gate import SendGate


async def test_who_gives_up_waiting_does_not_keep_the_gate(tmp_path: Path) -> None:
    """TW-11, KS-22: a call that its client cancels shuts the gate for nobody, in this process or another."""
    held, waited_for, another = (SendGate(tmp_path / "send.lock") for _ in range(3))

    async def passes(gate: SendGate) -> bool:
        async with gate.held():
            return True

    async with held.held():
        waiting = asyncio.create_task(passes(waited_for))
        for _ in range(3):
            await asyncio.sleep(0)  # until it has begun to wait
        waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.get_running_loop().shutdown_default_executor()  # no thread can take it any more
    async with another.held():  # at once, or by a thread that there is not
        pass


async def test_who_waits_for_another_process_passes_as_soon_as_that_has_let_go(tmp_path: Path) -> None:
    """TW-11: the gate is one for all processes, and a stop that passes it has nothing on its way behind it."""
    sender, stopper = (SendGate(tmp_path / "send.lock") for _ in range(2))
    passed: list[str] = []

    async def stop() -> None:
        async with stopper.held():
            passed.append("stop")

    async with sender.held():
        waiting = asyncio.create_task(stop())
        for _ in range(3):
            await asyncio.sleep(0)  # until it has begun to wait
        passed.append("sent")
    await waiting
    assert passed == ["sent", "stop"]
