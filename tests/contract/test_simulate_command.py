"""`simulate` as a user starts it: one line when ready, and a stranger's client can use it."""

from __future__ import annotations

import asyncio
import signal
import subprocess

import pytest

from tests.contract.clients import DEADLINE_SECONDS, Client
from tests.surface.shell import new_shell


async def test_simulate_says_where_it_listens_serves_ib_async_and_ends_on_a_signal() -> None:
    with new_shell() as shell, shell.started("simulate", "--port", "0", "--accounts", "DU1111111") as process:
        address = await asyncio.to_thread(_address, process)
        port = int(address.rpartition(":")[2])
        client = Client()
        try:
            await client.connectAsync("127.0.0.1", port, clientId=3, timeout=DEADLINE_SECONDS)
            assert client.managedAccounts() == ["DU1111111"]
            assert (await client.stock("AAPL")).conId == 265598
        finally:
            client.disconnect()
        taken = await asyncio.to_thread(shell.run, "simulate", "--port", str(port))
        process.send_signal(signal.SIGTERM)
        rest, errors = await asyncio.to_thread(process.communicate, timeout=DEADLINE_SECONDS)

    assert (process.returncode, rest, errors) == (0, "", "")
    assert (taken.returncode, "ADDRESS_NOT_FREE" in taken.stderr, str(port) in taken.stderr) == (1, True, True)


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    words = process.stdout.readline().split()
    assert words[:4] == ["Paper", "gateway", "ready", "at"]
    return words[4]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--host", "0.0.0.0"), 1, "HOST_NOT_LOOPBACK"),
        (("--accounts", "paper"), 2, "account ids"),
        (("--speed", "nan"), 2, "above 0"),
    ],
)
def test_simulate_refuses_what_makes_no_sense_and_says_why(arguments: tuple[str, str], code: int, told: str) -> None:
    with new_shell() as shell:
        done = shell.run("simulate", *arguments)

    assert (done.returncode, told in done.stderr, done.stdout) == (code, True, "")
