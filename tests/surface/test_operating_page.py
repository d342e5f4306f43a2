"""`docs/operating.md` is followed from the alarm to the reset and back to full size; each of its commands is run.

A server trades in this process on the paper gateway, and the commands of the page run beside it on the same state and
the same clock, so that the days of a recovery pass at once. People type as `tests/surface/people.py` has them; the
terminal itself is tried in test_cli_stop_and_reset.py.
"""

from __future__ import annotations

import ast
import asyncio
import hmac
import re
import shlex
import subprocess
from base64 import b32decode
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.operations.recovery import WATCH
from ibkr_mcp_server.safety import credentials
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store import breaker, reconciliations, risk_records
from ibkr_mcp_server.store.breaker import Stage
from tests.flow.breaker_kit import ACCOUNT, SLOWLY, priced
from tests.harness import World, running, time_passing
from tests.private_state import private_state
from tests.surface.people import WORDS, typing
from tests.surface.shell import REPOSITORY, Done, Shell

PAGE = (REPOSITORY / "docs" / "operating.md").read_text(encoding="utf-8")
ID = "7KQ2M9XA"
"""Stands on the page for the id of a request."""
ELSEWHERE = {
    "ibkr-mcp-server serve": "tests/surface/test_every_tool.py::test_over_stdio",
    "ibkr-mcp-server doctor": "tests/surface/test_cli_watching.py::test_doctor_names_what_is_wrong_and_what_to_do",
    "ibkr-mcp-server monitor": "tests/surface/test_cli_watching.py::"
    "test_monitor_shows_the_state_again_and_again_until_a_signal_ends_it",
    "ibkr-mcp-server drill": "tests/surface/test_cli_drill.py::"
    "test_a_drill_prints_what_it_took_beside_what_it_may_take_and_is_remembered",
    "ibkr-mcp-server drill --against paper": "tests/surface/test_cli_drill.py::"
    "test_a_drill_against_paper_halts_the_paper_account_and_leaves_the_reset_to_people",
    "ibkr-mcp-server test-alert": "tests/surface/test_cli_alerts.py::"
    "test_a_test_alert_reaches_the_channels_of_its_priority_and_says_what_each_answered",
    "ibkr-mcp-server tools --sizes": "tests/surface/test_tool_choice.py::test_command_prints_the_size_of_each_profile",
}
"""Commands that take a process of their own, and the tests that run them."""


def commands_of_the_page() -> set[str]:
    """The lines of its shell blocks and what stands in its sentences as a whole command."""
    blocks = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    others = re.findall(r"`((?:ibkr-mcp-server|touch) [^`]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL))
    others += [found for line in blocks for found in re.findall(r"# or: (.+)", line)]
    return {_plain(text) for text in (*blocks, *others)} - {""}


def _plain(text: str) -> str:
    return shlex.join(shlex.split(" ".join(text.split()), comments=True))


class Newcomer:
    """Runs commands as they stand on the page, and remembers which."""

    def __init__(self, world: World, shell: Shell) -> None:
        self._world = world
        self._shell = shell
        self._page = commands_of_the_page()
        self.run_so_far: set[str] = set()

    async def run(
        self, text: str, *more: str, by: str | None = None, then: tuple[str, ...] = (), id: str = ID, code: int = 0
    ) -> Done:
        """`text` as the page has it, and `more`; `by` types their passphrase, and `then` whatever is asked for next."""
        command = _plain(text)
        assert command in self._page, f"{command!r} does not stand on the page"
        self.run_so_far.add(command)
        words = [id if word == ID else word for word in shlex.split(command)][1:]
        asks_who = by is not None and "--user" not in words
        who = ["--user", str(by)] if asks_who else []
        answers = (*((WORDS.format(by),) if by is not None else ()), *then)
        done = await asyncio.to_thread(self._typed, answers, [*words, *more, *who])
        assert done.returncode == code, (command, done.returncode, done.stdout, done.stderr)
        return done

    def _typed(self, answers: tuple[str, ...], words: list[str]) -> Done:
        with typing(*answers):
            return self._shell.call(*words)

    async def run_in_sh(self, text: str) -> None:
        """A line of the page that is none of our commands."""
        assert _plain(text) in self._page
        self.run_so_far.add(_plain(text))
        await asyncio.to_thread(subprocess.run, ["sh", "-ec", text], env=self._shell.environment, check=True)

    async def two(self, text: str, first: str, second: str, *more: str) -> Done:
        """A command that takes a second person, who approves it as the page says."""
        asked = await self.run(text, *more, by=first, code=1)
        found = re.search(r"approve ([2-9A-Z]{8})", asked.stderr)
        assert found, asked.stderr
        return await self.run(f"ibkr-mcp-server approve {ID}", by=second, id=found[1])


async def compared(world: World) -> None:
    """Time passes until the server has compared its records with the broker's, and told how the risk stands, anew.

    It tells that only while the breaker is open or a stage holds.
    """
    begun = world.clock.now()

    def newest(connection: Connection) -> bool:
        report, watch = reconciliations.newest(connection), risk_records.read(connection, WATCH)
        state = breaker.current(connection)
        tells = state.is_open or state.stage is not Stage.FULL
        told = watch is not None and watch.updated_at > begun
        return report is not None and report.last_at > begun and (told or not tells)

    await passes(world, newest)
    await world.until_quiet()


async def passes(world: World, until: Callable[[Connection], bool]) -> None:
    """Time passes until the store says so."""
    async with asyncio.timeout(20):
        while not await world.app.desk.database.read(until):
            await world.clock.advance(1)
            await asyncio.sleep(0.001)


async def buy(agent: World, price: float) -> dict[str, Any]:
    """One share that rests; what the broker is asked before it is paced by the clock."""
    async with time_passing(agent.clock):
        return await agent.buy(1, symbol="MSFT", limit_price=price)


def code_of(key: str, clock: ManualClock) -> str:
    """What an authenticator shows now (RFC 6238), written apart from the product's own."""
    step = int(clock.now().timestamp()) // 30
    digest = hmac.new(b32decode(key), step.to_bytes(8, "big"), "sha1").digest()
    at = digest[-1] & 15
    return f"{(int.from_bytes(digest[at : at + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06}"


@pytest.fixture
def one_clock(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """The clock of the server is that of the commands, too."""
    monkeypatch.setattr("ibkr_mcp_server.cli.workspace.SystemClock", lambda: clock)
    monkeypatch.setitem(credentials._COST, "n", 16)  # the real cost is for attackers, not for tests
    return clock


@pytest.fixture
def place() -> Iterator[Path]:
    with private_state() as path:
        yield path


async def test_a_newcomer_follows_the_page_from_the_alarm_to_the_reset_and_back_to_full_size(
    place: Path, gateway: PaperGateway, one_clock: ManualClock
) -> None:
    """KS-15, KS-17, RC-01 to RC-06, ST-09: every command of the page does what the page says."""
    priced(gateway, "100.00")
    gateway.add_position(ACCOUNT, "AAPL", 1_000, 100)  # a tenth of the equity
    settings: dict[str, Any] = {**SLOWLY, "stage_decisions": 2, "reconcile_seconds": 5, "max_orders_per_minute": 40}
    async with running(place, gateway, one_clock, **settings) as world:
        shell = Shell(place / "state")
        shell.environment |= {"IBKR_STAGE_DECISIONS": "2", "IBKR_BROKER_MODE": "paper"}
        person = Newcomer(world, shell)
        await _first_start(person)
        async with world.agent("momentum") as momentum:
            await _stopped_and_reset(person, world, momentum)
        await _back_to_full_size(person, world)
        await _closed_and_locked(person, world)
        await _people_and_limits(person)
        await _records(person, world)
    left = {_plain(text) for text in commands_of_the_page()} - person.run_so_far - {_plain(text) for text in ELSEWHERE}
    assert left == set(), "these commands of the page are run by no test"


async def _first_start(person: Newcomer) -> None:
    await person.run("ibkr-mcp-server config check")
    await person.run("ibkr-mcp-server operator set-passphrase", "--user", "ann", then=(WORDS.format("ann"),) * 2)
    made = await person.run(
        "ibkr-mcp-server agents add momentum --orders-per-minute 2 --orders-per-day 10 --order-value 2000"
    )
    assert len(made.stdout.strip()) >= 43
    assert "momentum" in (await person.run("ibkr-mcp-server agents list")).stdout
    await person.run("ibkr-mcp-server agents remove momentum")
    await person.run("ibkr-mcp-server tools")


async def _stopped_and_reset(person: Newcomer, world: World, momentum: World) -> None:
    """It must stop; then what the page says under `After a stop`."""
    working = await buy(world, 90.0)
    await person.run('ibkr-mcp-server portfolio-halt --reason "why"')
    await person.run_in_sh('touch "$IBKR_STATE_DIR/KILL"')
    await person.run("ibkr-mcp-server halt-strategy momentum")
    stopped = await momentum.call("emergency_stop", only="AAPL", reason="odd prices")
    assert stopped["scope"] == "instrument:265598"
    told = await person.run("ibkr-mcp-server status --safety", code=2)
    for words in ("STOPPED", "why", "present: all trading is stopped", "strategy:momentum", "instrument:265598"):
        assert words in told.stdout
    early = await person.run('ibkr-mcp-server reset --reason "what was found"', by="ann", code=1)
    assert "were not compared with the broker's since the stop" in early.stderr
    await compared(world)
    assert working["perm_id"] not in [order.perm_id for order in world.gateway.exchange.open_orders()]
    assert "KILL_SWITCH_ACTIVATE" in (await person.run("ibkr-mcp-server audit tail -n 50")).stdout
    await person.run("ibkr-mcp-server audit verify")
    await person.run('ibkr-mcp-server reset --reason "what was found"', by="ann")
    await person.run('ibkr-mcp-server reset --scope instrument:265598 --reason "…"', by="ann")
    assert (await buy(momentum, 90.0))["code"] == "KILL_SWITCH_ACTIVE"
    await person.run('ibkr-mcp-server resume momentum --reason "…"', by="ann")
    for promoted in ("HALF", "FULL"):
        await _a_day_passes(world)
        for _ in range(2):
            answer = await buy(momentum, 90.0)
            assert answer["success"], answer
        await person.run("ibkr-mcp-server stage show --agent momentum", code=1)
        done = await person.run('ibkr-mcp-server stage promote --agent momentum --reason "…"', by="ann")
        assert f"stage {promoted}" in done.stdout


async def _a_day_passes(world: World) -> None:
    world.clock.step_wall(timedelta(days=1))
    await compared(world)


async def _back_to_full_size(person: Newcomer, world: World) -> None:
    """What the page says under `After the circuit breaker opened`, to the last stage."""
    priced(world.gateway, "61.50")  # 3.5 % of the equity
    await passes(world, lambda connection: breaker.current(connection).is_open)
    told = await person.run("ibkr-mcp-server status --safety", code=1)
    assert "CB-13 daily loss" in told.stdout
    again = 'ibkr-mcp-server breaker-reset --reason "what was found"'
    assert "COOLING_DOWN" in (await person.run(again, by="ann", code=1)).stderr
    world.clock.step_wall(timedelta(minutes=61))
    await compared(world)
    standing = await person.run(again, by="ann", code=1)
    assert "CB-13 daily loss" in standing.stderr
    assert "Stage PAPER" in (await person.run(again, "--acknowledge", "CB-13", by="ann")).stdout
    await compared(world)
    for stage, outcome in (("QUARTER", "dry_run"), ("HALF", "accepted"), ("FULL", "accepted")):
        for _ in range(2):
            answer = await buy(world, 60.0)
            assert (answer["success"], answer["outcome"]) == (True, outcome), answer["error"]
        assert "has not lasted a trading day" in (await person.run("ibkr-mcp-server stage show", code=1)).stdout
        await _a_day_passes(world)
        done = await person.run('ibkr-mcp-server stage promote --reason "…"', by="ann")
        assert f"Stage {stage}" in done.stdout
    assert "as configured" in (await person.run("ibkr-mcp-server stage show")).stdout


async def _closed_and_locked(person: Newcomer, world: World) -> None:
    """Two people close everything; a reset; and a lockdown, with another."""
    ben = (WORDS.format("ben"),) * 2
    made = await person.run("ibkr-mcp-server operator add ben --role risk_manager --one-time-code", by="ann", then=ben)
    key = re.search(r"^  ([A-Z2-7]{16,})$", made.stdout, re.MULTILINE)
    assert key, made.stdout
    asked = await person.run('ibkr-mcp-server portfolio-close --reason "why"', by="ann", code=1)
    found = re.search(r"approve ([2-9A-Z]{8})", asked.stderr)
    assert found, asked.stderr
    assert "portfolio-close" in (await person.run("ibkr-mcp-server approvals")).stdout
    code = code_of(key[1], world.clock)
    await person.run(f"ibkr-mcp-server approve {ID}", by="ben", then=(code,), id=found[1])
    account = world.gateway.accounts.by_code[ACCOUNT]
    async with asyncio.timeout(20):
        while any(position.quantity for position in account.positions.values()):
            await world.clock.advance(1)
            await asyncio.sleep(0.002)
    await compared(world)
    await person.run('ibkr-mcp-server reset --reason "what was found"', by="ann")
    assert "LOCKDOWN" in (await person.run("ibkr-mcp-server emergency")).stdout
    assert (await world.call("get_accounts"))["code"] == "KILL_SWITCH_ACTIVE"
    await compared(world)
    await person.run('ibkr-mcp-server reset --reason "what was found"', by="ann")
    assert (await buy(world, 60.0))["success"]
    world.clock.step_wall(timedelta(seconds=60))
    changed = (WORDS.format("ben"), code_of(key[1], world.clock), *((WORDS.format("benjamin"),) * 2))
    await person.run("ibkr-mcp-server operator set-passphrase --user ben", then=changed)


async def _people_and_limits(person: Newcomer) -> None:
    assert "risk_manager" in (await person.run("ibkr-mcp-server operator list")).stdout
    await person.run("ibkr-mcp-server operator remove ben", by="ann")
    anew = (WORDS.format("ben"),) * 2
    await person.run("ibkr-mcp-server operator add ben --role risk_manager --one-time-code", by="ann", then=anew)
    raising = 'ibkr-mcp-server limits raise IBKR_MAX_ORDER_VALUE_USD 20000 --until 15:30 --reason "a roll"'
    asked = await person.run(raising, by="ann", code=1)
    found = re.search(r"approve ([2-9A-Z]{8})", asked.stderr)
    assert found, asked.stderr
    await person.run(f'ibkr-mcp-server deny {ID} --reason "not today"', by="ann", id=found[1])
    await person.run("ibkr-mcp-server limits restore IBKR_MAX_ORDER_VALUE_USD", by="ann", code=1)
    await person.run("ibkr-mcp-server rearm", by="ann")


async def _records(person: Newcomer, world: World) -> None:
    """Shares that nobody here bought hold trading back until a person accepts them."""
    assert "in agreement" in (await person.run("ibkr-mcp-server reconcile show")).stdout
    world.gateway.add_position(ACCOUNT, "IBM", 5, 100)
    await compared(world)
    await person.run("ibkr-mcp-server reconcile show", code=1)
    await person.run('ibkr-mcp-server reconcile accept --reason "transferred from another broker"', by="ann")


def test_what_the_story_leaves_out_is_run_by_the_tests_that_are_named() -> None:
    for command, test in ELSEWHERE.items():
        assert _plain(command) in commands_of_the_page(), command
        file, _, name = test.partition("::")
        tree = ast.parse((REPOSITORY / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
