"""What a person sees at a terminal who watches, or who looks for what is wrong."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any

import pytest

from ibkr_mcp_server.cli import monitor as monitor_command
from ibkr_mcp_server.clock import SystemClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.surface.shell import Done, Shell


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_monitor_shows_the_state_again_and_again_until_a_signal_ends_it(
    shell: Shell, number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """MON-03: what changes meanwhile is seen, and the exit is clean."""
    for part in shell.state.glob("state.db*"):
        part.unlink()  # no server has ever run
    looked = []
    look = monitor_command._look

    def counted(settings: Any) -> Any:
        looked.append(look(settings))
        if len(looked) == 1:
            shell.call("portfolio-halt", "--reason", "while you watch")
        if len(looked) == 3:
            signal.raise_signal(number)
        return looked[-1]

    monkeypatch.setattr(monitor_command, "_look", counted)
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    try:
        done = shell.call("monitor", "--interval", "0.2")
    finally:
        for one, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(one, handler)
    assert (done.returncode, len(looked)) == (0, 3)
    assert "UNREADABLE" in done.stdout.splitlines()[0]
    assert done.stdout.count("STOPPED at") == 2
    for told in ("while you watch", "opening orders per trading day", "Newest records", "KILL_SWITCH_ACTIVATE"):
        assert told in done.stdout


async def test_doctor_names_what_is_wrong_and_what_to_do(shell: Shell) -> None:
    """Configuration, state directory, gateway, accounts, permissions, data and clock."""

    async def doctor(*options: str, **settings: str) -> Done:
        return await asyncio.to_thread(shell.call, "doctor", *options, **settings)

    misspelt = await doctor(IBKR_ENABLE_TRADNG="true")
    assert (misspelt.returncode, "Did you mean IBKR_ENABLE_TRADING?" in misspelt.stdout) == (1, True)
    await asyncio.to_thread(shell.call, "portfolio-halt", "--reason", "drill")
    async with PaperGateway(clock=SystemClock(), accounts=("U7654321",)) as gateway:
        paper = {"IBKR_BROKER_MODE": "paper", "IBKR_PORT": str(gateway.port)}
        found = await doctor("--json", **paper)
    marks = {(one["about"], one["mark"]) for one in json.loads(found.stdout)}
    assert found.returncode == 1
    assert {("gateway", "fine"), ("accounts", "wrong"), ("kill switch", "wrong"), ("operator", "look")} <= marks
    assert {("permissions", "fine"), ("data", "fine"), ("clock", "fine"), ("state directory", "fine")} <= marks
    assert "U7654321" not in found.stdout
    away = await doctor(**paper)
    assert (away.returncode, "→ Start TWS or IB Gateway" in away.stdout) == (1, True)
