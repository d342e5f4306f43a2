"""`simulate` as a user starts it: one line when ready, and a stranger's client can use it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from pathlib import Path

import pytest
from ib_async import LimitOrder

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


async def test_faults_are_taken_from_the_command_line_and_from_the_control_port() -> None:
    options = ("--port", "0", "--market-always-open", "--control-port", "0", "--fault", "inactive_next_order")
    with new_shell() as shell, shell.started("simulate", *options) as process:
        assert process.stdout is not None
        control = (await asyncio.to_thread(process.stdout.readline)).rpartition(":")[2].partition(",")[0]
        address = await asyncio.to_thread(_address, process)
        client, port = Client(), int(address.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", int(control))
        try:
            await client.connectAsync("127.0.0.1", port, clientId=3, timeout=DEADLINE_SECONDS)
            aapl = await client.stock("AAPL")
            await client.place(aapl, LimitOrder("BUY", 1, 1), until=("Inactive",))
            writer.write(b"reject_next_order:201:Order rejected - reason:Because\nno_such_fault\n")
            answers = [await reader.readline(), await reader.readline()]
            await client.place(aapl, LimitOrder("BUY", 1, 1), until=("Inactive",))
        finally:
            writer.close()
            client.disconnect()

    assert (answers[0], answers[1].startswith(b"error There is no fault named 'no_such_fault'")) == (b"ok\n", True)
    assert [text for _, code, text in client.errors if code == 201] == ["Order rejected - reason:Because"]


async def test_world_in_a_state_directory_outlives_the_process(tmp_path: Path) -> None:
    options = ("--port", "0", "--market-always-open", "--state-dir", str(tmp_path / "world"))
    with new_shell() as shell:
        for known in ([], ["kept"]):
            with shell.started("simulate", *options) as process:
                address = await asyncio.to_thread(_address, process)
                client = Client()
                port = int(address.rpartition(":")[2])
                await client.connectAsync("127.0.0.1", port, clientId=3, timeout=DEADLINE_SECONDS)
                assert [trade.order.orderRef for trade in client.openTrades()] == known
                if not known:
                    order = LimitOrder("BUY", 1, 1, tif="GTC", orderRef="kept", account="DU9000001")
                    await client.place(await client.stock("AAPL"), order, until=("Submitted",))
                    second = await asyncio.to_thread(shell.run, "simulate", *options)
                    assert (second.returncode, "STATE_DIR_IN_USE" in second.stderr) == (1, True)
                client.disconnect()
                process.kill()


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
        (("--fault", "delay_acks:soon"), 2, "delay_acks"),
    ],
)
def test_simulate_refuses_what_makes_no_sense_and_says_why(arguments: tuple[str, str], code: int, told: str) -> None:
    with new_shell() as shell:
        done = shell.call("simulate", *arguments)

    assert (done.returncode, told in done.stderr, done.stdout) == (code, True, "")


async def test_a_csv_file_is_replayed_from_the_day_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "days.csv"
    lines = [f"2021-03-{day:02},ZZYZX,{day},{day + 0.5},{day - 0.5},{day}.25,{day}000" for day in range(1, 11)]
    file.write_text("\n".join(["date,symbol,open,high,low,close,volume", *lines]), encoding="ascii")
    options = ("--port", "0", "--market-always-open", "--replay", str(file), "--replay-from", "2021-03-04")
    with new_shell() as shell, shell.started("simulate", *options) as process:
        address = await asyncio.to_thread(_address, process)
        client = Client()
        try:
            await client.connectAsync(
                "127.0.0.1", int(address.rpartition(":")[2]), clientId=3, timeout=DEADLINE_SECONDS
            )
            async with asyncio.timeout(DEADLINE_SECONDS):
                [ticker] = await client.reqTickersAsync(await client.stock("ZZYZX"))
        finally:
            client.disconnect()
        process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.to_thread(process.communicate, timeout=DEADLINE_SECONDS)
        broken = shell.call("simulate", "--replay", str(Path(__file__)))
        too_late = shell.call("simulate", "--replay", str(file), "--replay-from", "2022-01-01")

    assert (ticker.open, ticker.close) == (4, 3.25)
    assert "Replaying ZZYZX from 2021-03-04 on; days.csv ends on 2021-03-10" in errors
    assert (broken.returncode, "lacks the column" in broken.stderr) == (2, True)
    assert (too_late.returncode, "ends on 2021-03-10" in " ".join(too_late.stderr.split())) == (2, True)
