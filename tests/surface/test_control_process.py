"""The control API on a socket: the examples of its page as they stand there, and beside a server that trades."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.control import paths
from ibkr_mcp_server.control.key_watch import BAD_KEY, NO_KEY, tell_of_bad_keys
from ibkr_mcp_server.control.server import beside
from ibkr_mcp_server.operations.overrides import CONTROL_API
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.control_kit import KEYS, STATUS_SECRET, TRIGGER_SECRET, Caller
from tests.harness import running, time_passing
from tests.private_state import private_state
from tests.surface.shell import REPOSITORY, Shell

PAGE = REPOSITORY / "docs" / "control-api.md"
needs_tools = pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("openssl")), reason="curl or openssl is not installed"
)


def examples() -> list[str]:
    """The shell blocks of the page but for the first, which starts the API."""
    return re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1:]


@needs_tools
def test_the_examples_of_the_page_stop_trading_without_a_server(shell: Shell) -> None:
    """KS-07, KS-11, SIG-11: `control` alone; curl and openssl as the page has them."""
    shell.environment |= {
        "IBKR_CONTROL_PORT": "0",
        "IBKR_KILL_SWITCH_SECRET": TRIGGER_SECRET,
        "IBKR_CONTROL_STATUS_SECRET": "8d4f10" * 9 + "72bce5a391",
    }
    with shell.started("control") as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", told)
        assert url, told
        done = subprocess.run(
            ["sh", "-ec", "".join(examples())],
            env=shell.environment | {"URL": url[0]},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        process.terminate()
        assert process.wait(10) in (0, -15)
    stopped, status = (json.loads(line) for line in done.stdout.replace("}{", "}\n{").splitlines())
    assert (stopped["active"], stopped["first"], stopped["reason"]) == (True, True, "drill")
    assert (status["active"], status["actor"]) == (True, "system trigger")
    shown = shell.call("status", "--json")
    assert (shown.returncode, '"auth": "hmac"' in shown.stdout) == (2, True)
    assert TRIGGER_SECRET not in told + done.stdout + done.stderr


def test_without_a_trusted_key_the_command_refuses_and_names_the_setting(shell: Shell) -> None:
    """SIG-05: exit code 78, and not a word of the secret."""
    refused = shell.call("control", IBKR_KILL_SWITCH_SECRET="canary-canary")
    assert (refused.returncode, "IBKR_KILL_SWITCH_SECRET" in refused.stderr) == (78, True)
    assert "canary" not in refused.stderr


async def test_beside_a_server_a_trigger_stops_its_orders_and_readiness_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """KS-01, KS-12, MON-07: over a socket, in the process that trades."""
    clock = ManualClock()
    async with (
        PaperGateway(clock=clock) as gateway,
        running(tmp_path, gateway, clock, control_port=0, **KEYS) as world,
        beside(world.app),
    ):
        url = re.search(r"http://127\.0\.0\.1:\d+", capsys.readouterr().err)
        assert url
        assert (await world.buy())["success"]
        async with httpx2.AsyncClient(base_url=url[0]) as http:
            caller = Caller(http=http, clock=clock)
            before = await caller.ask("GET", paths.READY, headers={})
            stopped = await caller.trigger(reason="alarm")
            whole = (await caller.ask("GET", paths.STATUS, secret=STATUS_SECRET)).json()
            after = await caller.ask("GET", paths.READY, headers={})
            status = await caller.ask("GET", paths.KILL_STATUS, secret=STATUS_SECRET)
            refused = await world.buy()
            await caller.ask("GET", paths.STATUS, headers={})
            page = (await caller.ask("GET", paths.METRICS, headers={})).text
        async with time_passing(clock):
            await world.until(lambda: world.working_orders() == [])

        assert (before.status_code, before.json()) == (200, {"ready": True, "reasons": []})
        assert (stopped.status_code, stopped.json()["nothing_in_flight"]) == (200, True)
        assert (after.status_code, after.json()["reasons"]) == (503, ["KILL_SWITCH_ACTIVE"])
        assert status.json()["reason"] == "alarm"
        assert (refused["code"], world.sent) == ("KILL_SWITCH_ACTIVE", 1)
        assert len(await world.records(EventType.KILL_SWITCH_ACTIVATE)) == 1

        assert (whole["effective_state"], whole["kill_switch_active"], whole["permissions"]["open"]) == (
            "HALT",
            True,
            "no",
        )
        assert whole["link"]["accounts"] == ["******001", "******002"]
        assert {limit["name"] for limit in whole["limits"]} >= {"opening_orders_per_minute", "total_exposure_usd"}
        figures = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }
        assert figures["ibkr_decisions_total", "order_placement", "APPROVED"] == 1
        assert figures["ibkr_decisions_total", "order_placement", "KILL_SWITCH_ACTIVE"] == 1
        assert figures["ibkr_decision_seconds_count", "order_placement"] == 2
        assert (figures["ibkr_safety_state", "HALT"], figures["ibkr_safety_state", "NORMAL"]) == (1, 0)
        assert figures["ibkr_limit_used", "opening_orders_per_minute"] == 1
        assert figures["ibkr_control_refused_total", "unsigned"] == 1
        assert figures["ibkr_pacing_complaints_total",] == 0
        assert abs(figures["ibkr_clock_offset_seconds",]) <= 1
        dashboard = json.loads((REPOSITORY / "docs" / "grafana-dashboard.json").read_text(encoding="utf-8"))
        shown = {
            name for panel in dashboard["panels"] for name in re.findall(r"ibkr_\w+", json.dumps(panel["targets"]))
        }
        there = {name for name, *_ in figures}
        assert shown <= there, "an empty panel"
        assert {re.sub("_(count|sum|created)$", "_bucket", name) for name in there} - shown == {"ibkr_info"}


async def test_a_missing_a_weak_and_an_expired_key_show_in_every_status_and_in_the_log(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    """SIG-05, CFG-18, invariant 10: in general words, since agents read it too; trading goes on."""
    key = '[[key]]\nid = "pager"\nrole = "trigger"\nsecret = "{}"\nnot_after = 2026-11-20T15:05:00Z\n'
    with private_state() as place:
        file = place / "keys.toml"
        file.write_text(key.format(TRIGGER_SECRET))
        file.chmod(0o600)
        async with running(place, gateway, clock, control_port=0, control_keys_file=str(file)) as world:
            desk, shell = world.app.desk, Shell(place / "state")

            async def told() -> tuple[str, str]:
                of_the_shell = await asyncio.to_thread(shell.json, "status")
                return " ".join((await world.call("get_safety_status"))["warnings"]), str(of_the_shell["concerns"])

            async with beside(world.app):
                assert "warnings" not in await world.call("get_safety_status")
                await clock.advance(361)
                await world.until(desk.notices.told)
                for words in await told():
                    assert "No trigger key of the control API is in force" in words
            weak: dict[str, object] = {"control_keys_file": None, "kill_switch_secret": SecretStr("canary")}
            for changes, sentence in ((weak, BAD_KEY), ({"control_keys_file": None}, NO_KEY)):
                changed = replace(desk, settings=desk.settings.model_copy(update=changes))
                async with beside(replace(world.app, desk=changed)):
                    for words in await told():
                        assert sentence in words
                        assert "canary" not in words
            desk.notices.tell(CONTROL_API, None)
            await tell_of_bad_keys(replace(desk, settings=desk.settings.model_copy(update=weak)))  # over stdio
            assert BAD_KEY in (await told())[0]
            assert (await world.buy())["success"]
            recorded = [record.outcome["reason"] for record in await world.records(EventType.CONTROL_DISABLED)]
    assert [text.partition(" ")[0] for text in recorded] == ["No", "The", "The", "The"]
