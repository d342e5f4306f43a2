"""The control API from outside: who is let in, what a stop does, and what can never be done with it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.control import paths
from ibkr_mcp_server.control.door import TOLERANCE_SECONDS
from ibkr_mcp_server.control.guard import LARGEST_BODY, MOST_READS_PER_SECOND
from ibkr_mcp_server.control.keys import keys_of, weakness_of
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.errors import ConfigurationError
from ibkr_mcp_server.safety.operator import OperatorProof
from ibkr_mcp_server.safety.roles import Role
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.store.latches import KillMode
from tests.control_kit import KEYS, RESET_SECRET, STATUS_SECRET, TRIGGER_SECRET, alone, calling, signed
from tests.surface.shell import REPOSITORY

PACKAGE = REPOSITORY / "ibkr_mcp_server"

PERSON = OperatorProof(actor=Actor(type=ActorType.HUMAN, id="root", auth="passphrase"), role=Role.ADMIN)
UNAUTHORIZED = (401, {"error": "Unauthorized."})


async def test_a_signed_trigger_stops_and_the_key_not_the_name_is_the_actor(tmp_path: Path) -> None:
    """KS-11, SIG-01, SIG-08: both sets of headers, both paths."""
    async with alone(tmp_path) as house:
        stopped = await house.caller.trigger(reason="drill\nof today", triggered_by="the CTO")
        again = await house.caller.ask("POST", paths.TRIGGER_ALIAS, {"mode": "LOCKDOWN"}, webhook=True)
        status = await house.caller.ask("GET", paths.KILL_STATUS, webhook=True)

        assert (stopped.status_code, again.status_code, status.status_code) == (200, 200, 200)
        told = stopped.json()
        assert (told["active"], told["first"], told["durable"], told["mode"]) == (True, True, True, "HALT_ONLY")
        assert (told["reason"], told["actor"], told["auth"]) == ("drill of today", "system trigger", "hmac")
        assert again.json()["mode"] == status.json()["mode"] == "LOCKDOWN"
        assert again.json()["first"] is False
        first, second = house.records(EventType.KILL_SWITCH_ACTIVATE)
        assert [first.actor[name] for name in ("type", "id", "auth")] == ["system", "trigger", "hmac"]
        assert (first.outcome["claimed_by"], second.outcome["claimed_by"]) == ("the CTO", None)


async def test_whatever_is_not_signed_right_is_told_401_and_nothing_more(tmp_path: Path) -> None:
    """KS-11, KS-19, SIG-02, SIG-03: each part of the request is signed, and a role opens its own paths only."""
    async with alone(tmp_path, http_reset_enabled=True) as house:
        now, body = house.clock.now().timestamp(), b'{"reason":"x"}'
        good = signed(TRIGGER_SECRET, "POST", paths.TRIGGER, body, timestamp=now)
        tried: list[tuple[str, str, bytes, dict[str, str]]] = [
            ("POST", paths.TRIGGER, body, {}),
            ("POST", paths.TRIGGER, body + b" ", good),
            ("POST", paths.TRIGGER_ALIAS, body, good),
            ("POST", paths.TRIGGER + "?x=1", body, good),
            ("POST", paths.TRIGGER, body, good | {"x-hmac-timestamp": str(int(now) + 1)}),
            ("POST", paths.TRIGGER, body, good | {"x-hmac-id": "another-id"}),
            ("POST", paths.TRIGGER, body, good | {"x-hmac-key": "status"}),
            ("POST", paths.TRIGGER, body, good | {"x-hmac-signature": good["x-hmac-signature"][:-2]}),
            ("POST", paths.TRIGGER, body, {name: good[name] for name in list(good)[1:]}),
            ("POST", paths.TRIGGER, body, signed("", "POST", paths.TRIGGER, body, timestamp=now)),
        ]
        for off in (-TOLERANCE_SECONDS - 1, TOLERANCE_SECONDS + 1):
            tried.append(
                ("POST", paths.TRIGGER, body, signed(TRIGGER_SECRET, "POST", paths.TRIGGER, body, timestamp=now + off))
            )
        for secret in (STATUS_SECRET, RESET_SECRET):
            tried.append(("POST", paths.TRIGGER, body, signed(secret, "POST", paths.TRIGGER, body, timestamp=now)))
        for secret in (STATUS_SECRET, TRIGGER_SECRET):
            tried.append(("POST", paths.RESET, body, signed(secret, "POST", paths.RESET, body, timestamp=now)))
        tried.append(
            ("GET", paths.KILL_STATUS, b"", signed(TRIGGER_SECRET, "GET", paths.KILL_STATUS, b"", timestamp=now))
        )
        for method, target, content, headers in tried:
            answer = await house.caller.ask(method, target, content, headers=headers)
            assert (answer.status_code, answer.json()) == UNAUTHORIZED, (method, target, headers)

        edge = signed(TRIGGER_SECRET, "POST", paths.TRIGGER, body, timestamp=now - TOLERANCE_SECONDS)
        assert house.parts.kill_switch.status_now().active is False
        assert (await house.caller.ask("POST", paths.TRIGGER, body, headers=edge)).status_code == 200
        reasons = {record.outcome["reason"]: record.actor["id"] for record in house.records(EventType.AUTH_FAILED)}
        assert reasons == {
            "unsigned": "unknown",
            "signature": "unknown",
            "timestamp": "trigger",
            "a status key": "status",
            "a reset key": "reset",
            "a trigger key": "trigger",
        }


async def test_a_request_counts_once_and_its_replay_after_a_reset_does_nothing(tmp_path: Path) -> None:
    """SIG-04: only the identical trigger on an active switch is answered again, and changes nothing."""
    async with alone(tmp_path) as house:
        body, now = b'{"reason":"once"}', house.clock.now().timestamp()
        headers = signed(TRIGGER_SECRET, "POST", paths.TRIGGER, body, timestamp=now, id="only-once")
        other = signed(TRIGGER_SECRET, "POST", paths.TRIGGER, b"{}", timestamp=now, id="only-once")
        first = await house.caller.ask("POST", paths.TRIGGER, body, headers=headers)
        replayed = await house.caller.ask("POST", paths.TRIGGER, body, headers=headers)
        same_id = await house.caller.ask("POST", paths.TRIGGER, b"{}", headers=other)
        await house.parts.kill_switch.clear(PERSON, "checked")
        after_reset = await house.caller.ask("POST", paths.TRIGGER, body, headers=headers)

        assert (first.status_code, replayed.status_code) == (200, 200)
        assert (replayed.json()["replayed"], replayed.json()["repeats"]) == (True, 0)
        assert (same_id.status_code, same_id.json()) == UNAUTHORIZED
        assert (after_reset.status_code, after_reset.json()) == UNAUTHORIZED
        assert house.parts.kill_switch.status_now().active is False
        assert len(house.records(EventType.KILL_SWITCH_ACTIVATE)) == 1
        seen = signed(STATUS_SECRET, "GET", paths.KILL_STATUS, b"", timestamp=now)
        codes = [(await house.caller.ask("GET", paths.KILL_STATUS, headers=seen)).status_code for _ in range(2)]
        assert codes == [200, 401]
        with closing(sqlite3.connect(house.state / "state.db")) as store, store:
            assert {space for (space,) in store.execute("SELECT space FROM control_nonces")} == {"trigger", "status"}


@pytest.mark.parametrize(
    "body", [b"", b"not json", b"[1]", b'{"mode":"MAD","reason":7}', b'{"mode":["x"]}', b"\xff" * 9]
)
async def test_a_stop_needs_no_well_formed_body(tmp_path: Path, body: bytes) -> None:
    """KS-18: who may stop is obeyed, and told what was left out."""
    async with alone(tmp_path) as house:
        answer = await house.caller.ask("POST", paths.TRIGGER, body)
        assert answer.status_code == 200
        assert (answer.json()["mode"], answer.json()["reason"]) == ("HALT_ONLY", "unspecified")
        assert bool(answer.json()["warnings"]) is bool(body)


async def test_a_stop_holds_by_the_file_when_the_store_fails(tmp_path: Path) -> None:
    """KS-08: a signed trigger stops although its id cannot be stored; a read is refused instead."""
    async with alone(tmp_path) as house:
        house.parts.database.close()
        stopped = await house.caller.trigger(reason="the disk is full")
        status = await house.caller.ask("GET", paths.KILL_STATUS)
        assert (stopped.status_code, stopped.json()["durable"], status.status_code) == (200, False, 401)
        assert (house.state / "KILL").read_text() == "the disk is full\n"
        (house.state / "KILL").unlink()
        house.state.chmod(0o500)
        lost = await house.caller.trigger()
        house.state.chmod(0o700)
        if not (house.state / "KILL").exists():  # the superuser writes anyway
            assert (lost.status_code, "TRADING IS NOT STOPPED" in lost.text) == (503, True)


async def test_a_flood_of_bad_requests_reaches_neither_the_store_nor_a_stop(tmp_path: Path) -> None:
    """SIG-07: reads are limited, stops are not, and failures leave one record a minute."""
    bad = {"x-hmac-signature": "0" * 64}
    async with alone(tmp_path) as house:
        codes = set()
        for _ in range(10):
            answers = await asyncio.gather(
                *(
                    house.caller.ask("POST", paths.TRIGGER, b"{}", headers={"x-hmac-signature": "0" * 64})
                    for _ in range(100)
                )
            )
            codes |= {answer.status_code for answer in answers}
        reads = [await house.caller.ask("GET", paths.HEALTH) for _ in range(MOST_READS_PER_SECOND + 1)]
        good = await house.caller.trigger()
        large = await house.caller.ask("POST", paths.TRIGGER, b"x" * (LARGEST_BODY + 1))

        assert (codes, good.status_code, large.status_code) == ({401}, 200, 413)
        assert [reads[-2].status_code, reads[-1].status_code] == [200, 429]
        assert len(house.records(EventType.AUTH_FAILED)) == 1
        await house.clock.advance(61)
        await house.caller.ask("POST", paths.TRIGGER, b"{}", headers=bad)
        assert [record.outcome["requests"] for record in house.records(EventType.AUTH_FAILED)] == [1, 1_000]


@pytest.mark.parametrize("days", [-365, 365])
async def test_local_stops_hold_with_a_clock_that_is_a_year_off(tmp_path: Path, days: int) -> None:
    """SIG-11: a signature needs the time, and a person at the machine does not."""
    async with alone(tmp_path) as house:
        now = house.clock.now().timestamp()
        house.clock.step_wall(timedelta(days=days))
        signed_now = await house.caller.ask("POST", paths.TRIGGER, {}, timestamp=now)
        switch = house.parts.kill_switch
        assert (signed_now.status_code, switch.status_now().active) == (401, False)
        await switch.activate(KillMode.HALT_ONLY, "by hand", PERSON.actor)
        assert switch.status_now().active is True
        await switch.clear(PERSON, "checked")
        (house.state / "KILL").touch()
        assert switch.status_now().active is True


async def test_reset_is_not_there_and_unsigned_paths_are_for_this_machine_only(tmp_path: Path) -> None:
    """KS-20, SIG-07: what others may not ask is not there for them."""
    async with alone(tmp_path) as house:
        assert (await house.caller.ask("POST", paths.RESET, {})).status_code == 404
        alive = await house.caller.ask("GET", paths.HEALTH, headers={})
        ready = await house.caller.ask("GET", paths.READY, headers={})
        rebound = await house.caller.ask("GET", paths.HEALTH, headers={"host": "evil.example:8766"})
        async with calling(house.parts, house.clock, client="192.0.2.7") as stranger:
            far = await stranger.ask("GET", paths.HEALTH, headers={})
            stopped = await stranger.trigger()
        assert (alive.status_code, rebound.status_code, far.status_code, stopped.status_code) == (200, 404, 404, 200)
        assert (ready.status_code, ready.json()) == (503, {"ready": False, "reasons": ["NO_SERVER_HERE"]})
        described = (await house.caller.ask("GET", paths.DESCRIPTION, headers={})).json()
        assert {paths.TRIGGER, paths.TRIGGER_ALIAS, paths.KILL_STATUS, paths.HEALTH, paths.READY} <= described[
            "paths"
        ].keys()
        for answer in house.caller.answers:
            assert not any(secret in answer for secret in KEYS.values())


async def test_a_reset_over_http_only_asks_people_and_one_request_is_made_of_many(tmp_path: Path) -> None:
    """KS-17, KS-20: on, it needs its own key and leaves a request that a person must approve."""
    async with alone(tmp_path, http_reset_enabled=True) as house:
        idle = await house.caller.ask("POST", paths.RESET, {"reason": "checked"})
        await house.caller.trigger(reason="drill")
        empty = await house.caller.ask("POST", paths.RESET, {"reason": ""})
        asked = await house.caller.ask("POST", paths.RESET, {"reason": "checked", "reset_by": "the CTO"})
        again = await house.caller.ask("POST", paths.RESET, {"reason": "checked"})

        assert (idle.status_code, empty.status_code, asked.status_code, again.status_code) == (409, 422, 202, 202)
        assert "off" in idle.json()["error"]
        told = asked.json()
        assert (told["state"], told["approvals_needed"], told["approved_by"]) == ("PENDING", 1, [])
        assert again.json()["approval_id"] == told["approval_id"]
        assert house.parts.kill_switch.status_now().active is True
        [record] = house.records(EventType.APPROVAL_REQUESTED)
        assert (record.actor["id"], record.outcome["reason"]) == ("reset", "checked (claimed by the CTO)")


async def test_metrics_and_health_are_offered_unless_switched_off_and_a_store_alone_has_figures(tmp_path: Path) -> None:
    """CFG-19, MON-04, MON-05: a process without a server shows what the store knows."""
    async with alone(tmp_path) as house:
        page = (await house.caller.ask("GET", paths.METRICS, headers={})).text
        whole = (await house.caller.ask("GET", paths.STATUS)).json()
        assert "ibkr_kill_switch_active 0.0" in page
        assert 'ibkr_limit_left{limit="opening_orders_per_trading_day"} 50.0' in page
        assert (whole["store_only"], whole["kill_switch_active"], whole["unresolved"]) == (True, False, [])
    async with alone(tmp_path, enable_performance_monitoring=False, enable_health_checks=False) as house:
        for path in (paths.METRICS, paths.HEALTH, paths.READY):
            assert (await house.caller.ask("GET", path, headers={})).status_code == 404
    switches = ("enable_performance_monitoring", "enable_health_checks")
    readers = {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        if any(name in file.read_text(encoding="utf-8") for name in switches)
    }
    assert readers == {"settings/control.py", "control/api.py"}, "something else than these pages looks at the switches"


def keys_with(**settings: Any) -> list[str]:
    """Ids and roles of the keys of these settings, or what is wrong with them."""
    try:
        return [f"{key.id} {key.role}" for key in keys_of(load_settings(environ={}, **settings))]
    except ConfigurationError as error:
        return list(error.problems)


def test_missing_and_weak_secrets_are_refused_and_never_quoted() -> None:
    """SIG-05: 32 random bytes, in whatever form, or none."""
    for weak in ("", "short", "ab12" * 16, "0123456789abcdef" * 3, "whsec_" + "A" * 20, "whsec_!!", "x" * 80, "é" * 64):
        assert weakness_of(weak), weak
        [told] = keys_with(kill_switch_secret=weak)
        assert not weak or weak not in told
    for strong in (TRIGGER_SECRET, STATUS_SECRET, RESET_SECRET):
        assert weakness_of(strong) is None
    assert keys_with() == [
        "The control API has no trigger key: set IBKR_KILL_SWITCH_SECRET to 32 random bytes (openssl rand -hex 32)."
    ]
    assert "share a secret" in keys_with(kill_switch_secret=TRIGGER_SECRET, control_reset_secret=TRIGGER_SECRET)[0]
    assert TRIGGER_SECRET not in repr(keys_of(load_settings(environ={}, kill_switch_secret=TRIGGER_SECRET)))
    alias = load_settings(environ={"KILL_SWITCH_SECRET": TRIGGER_SECRET})
    assert [key.secret for key in keys_of(alias)] == [TRIGGER_SECRET.encode()]
    with pytest.raises(ConfigurationError, match="both set and differ"):
        load_settings(environ={"KILL_SWITCH_SECRET": TRIGGER_SECRET, "IBKR_KILL_SWITCH_SECRET": RESET_SECRET})


async def test_keys_of_a_file_overlap_in_rotation_and_the_file_must_be_private(tmp_path: Path) -> None:
    """SIG-06: the old key holds until its end, the new one from its beginning."""
    file = tmp_path / "keys.toml"
    entry = '[[key]]\nid = "{}"\nrole = "trigger"\nsecret = "{}"\n{}\n'
    old = entry.format("pager-old", TRIGGER_SECRET, "not_after = 2026-11-20T15:10:00Z")
    new = entry.format("pager-new", RESET_SECRET, "not_before = 2026-11-20T15:05:00Z")
    file.write_text(old + new)
    file.chmod(0o644)
    only_file: dict[str, Any] = {
        "kill_switch_secret": None,
        "control_reset_secret": None,
        "control_keys_file": str(file),
    }
    assert keys_with(**only_file) == [f"Other users can reach {file}; run: chmod 600 '{file}'"]
    file.chmod(0o600)
    async with alone(tmp_path, **only_file) as house:

        async def codes() -> list[int]:
            return [
                (await house.caller.ask("POST", paths.TRIGGER, {}, secret=secret)).status_code
                for secret in (TRIGGER_SECRET, RESET_SECRET)
            ]

        assert await codes() == [200, 401]
        await house.clock.advance(300)
        assert await codes() == [200, 200]
        await house.clock.advance(301)
        assert await codes() == [401, 200]
        assert [record.actor["id"] for record in house.records(EventType.KILL_SWITCH_ACTIVATE)][-1] == "pager-new"
    for text, said in (
        ("nonsense", "is not TOML"),
        ("[other]\n", "something else"),
        ('[[key]]\nid = "a b"\nrole = "trigger"\nsecret = "x"\n', "needs an id"),
        ('[[key]]\nid = "a"\nrole = "admin"\nsecret = "x"\n', "needs a role"),
        ('[[key]]\nid = "a"\nrole = "reset"\n', "needs a secret"),
        (entry.format("a", TRIGGER_SECRET, "expires = 1"), "unknown entries: expires"),
        (entry.format("a", TRIGGER_SECRET, "not_after = 2026-11-20"), "times with a zone"),
        (old + old, "two keys with the id"),
    ):
        file.write_text(text)
        told = keys_with(**only_file)
        assert said in told[0], told
        assert TRIGGER_SECRET not in json.dumps(told)


def test_other_machines_reach_the_api_only_with_a_certificate() -> None:
    """SIG-07: loopback unless told otherwise, and then with TLS."""
    assert load_settings(environ={}).control_host == "127.0.0.1"
    with pytest.raises(ConfigurationError, match="IBKR_CONTROL_TLS_CERTIFICATE"):
        load_settings(environ={}, control_host="0.0.0.0")
    with pytest.raises(ConfigurationError, match="need each other"):
        load_settings(environ={}, control_tls_certificate="/etc/ssl/control.pem")
