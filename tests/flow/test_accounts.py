"""Only the account that the broker names, and only if it may be traded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.errors import ConfigurationError
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.harness import running
from tests.people import confirmed, people, proved


@pytest.mark.parametrize("accounts", [("U1234567",), ("DU9000001", "U1234567"), ("DUMMY",)])
async def test_a_live_looking_account_blocks_every_write_and_no_read(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock, accounts: tuple[str, ...]
) -> None:
    """ACC-01, ACC-02, ACC-06, FD-19: on a paper port."""
    gateway.set_accounts(*accounts)
    async with running(tmp_path, gateway, clock) as world:
        refused = await world.buy()
        market = await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=1)
        summary = await world.call("get_account_summary")
        listed = await world.call("get_accounts")
        status = await world.call("get_safety_status")
        assert (await world.call("get_portfolio"))["success"]
        assert (await world.call("get_market_data", symbols=["AAPL"]))["success"]
        rejected = await world.records(EventType.ACCOUNT_REJECTED)
    assert {refused["code"], market["code"]} == {"ACCOUNT_NOT_ACCEPTED"}
    assert gateway.received_writes == []
    assert summary["success"]
    assert len(listed["accounts"]) == len(accounts)
    assert status["account_verified"] is False
    assert rejected, "the verification and its result are recorded (ACC-04)"


async def test_an_account_argument_selects_among_the_brokers_and_cannot_name_another(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """ACC-05, ACC-09, LLM-10: in full, or as answers show it."""
    async with running(tmp_path, gateway, clock) as world:
        default = await world.buy()
        second = await world.buy(account="DU9000002")
        shown = await world.buy(account="******002")
        other = await world.buy(account="DU7777777")
    assert default["terms"]["account"] == "******001"
    assert second["terms"]["account"] == "******002"
    assert shown["terms"]["account"] == "******002"
    assert other["code"] == "ACCOUNT_NOT_SERVED"
    assert [sent.terms.account for sent in gateway.received_orders] == ["DU9000001", "DU9000002", "DU9000002"]


async def test_an_account_named_as_shown_must_be_the_only_one_that_is_shown_so(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    gateway.set_accounts("DU9000001", "DU8000001")
    async with running(tmp_path, gateway, clock) as world:
        either = await world.buy(account="******001")
        assert (either["code"], gateway.received_writes) == ("ACCOUNT_NOT_SERVED", [])
        assert "name it in full" in either["next_step"]


async def test_accounts_are_verified_again_when_the_last_word_of_the_broker_is_too_old(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """ACC-07, A1: the swap is found at order time, not at the next restart."""
    async with running(tmp_path, gateway, clock) as world:
        assert (await world.buy())["success"]
        gateway.set_accounts("U1234567")
        await clock.advance(61)
        refused = await world.buy()
        told = {detail.partition(":")[0] for detail in refused["details"]}
        assert told & {"ACCOUNT_NOT_ACCEPTED", "ACCOUNT_UNVERIFIED"}, refused
        verified = await world.records(EventType.ACCOUNT_VERIFIED)
        rejected = await world.records(EventType.ACCOUNT_REJECTED)
    assert world.sent == 1
    assert verified
    assert rejected


async def test_an_account_swapped_during_a_reconnect_blocks_the_next_order(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """ACC-07."""
    async with running(tmp_path, gateway, clock) as world:
        assert (await world.buy())["success"]
        gateway.set_accounts("U1234567")
        gateway.disconnect_all()
        await world.until(lambda: not world.app.desk.broker.link.is_up)
        await clock.advance(5)
        await world.until_up()
        assert (await world.buy())["code"] == "ACCOUNT_NOT_ACCEPTED"
    assert world.sent == 1


@pytest.mark.parametrize(("mode", "port"), [("paper", 7496), ("paper", 4001), ("live", 7497), ("live", 4002)])
def test_a_port_of_the_other_kind_of_account_refuses_the_start(mode: str, port: int) -> None:
    """ACC-08."""
    with pytest.raises(ConfigurationError, match="IBKR_PORT"):
        load_settings(environ={"IBKR_BROKER_MODE": mode, "IBKR_PORT": str(port)})


async def test_verification_can_be_switched_off_only_explicitly(tmp_path: Path) -> None:
    """ACC-03, CFG-18."""
    with pytest.raises(ConfigurationError, match="IBKR_REQUIRE_PAPER_ACCOUNT_VERIFICATION"):
        load_settings(environ={"IBKR_BROKER_MODE": "paper", "IBKR_REQUIRE_PAPER_ACCOUNT_VERIFICATION": "false"})
    free: dict[str, Any] = {"require_paper_account_verification": False, "simulator_accounts": "U1234567"}
    async with running(tmp_path, **free) as world:
        assert (await world.buy())["success"]


async def test_a_live_account_needs_every_lock_open(tmp_path: Path, gateway: PaperGateway, clock: ManualClock) -> None:
    """CFG-05, A1 through the whole path: the full set sends, one lock less does not, whichever it is."""
    gateway.set_accounts("U1234567")
    live: dict[str, Any] = {
        "broker_mode": "live",
        "live_trading": True,
        "live_trading_ack": "I accept that orders trade real money",
        "live_accounts": "U1234567",
    }
    async with running(tmp_path, gateway, clock, **live) as world:
        assert (await world.buy())["code"] == "CONFIRMATION_REQUIRED"  # LLM-07: live always takes a person
        placed = await confirmed(world, (await people(world))["ann"])
        assert placed["success"]
        # A client that cannot be asked back can still take its order back (FD-12).
        assert (await world.call("cancel_order", perm_id=placed["perm_id"]))["success"]
        await world.until(lambda: not gateway.exchange.open_orders())
        again = await world.judged_again()
    assert {one.recorded for one in again} == {"approved", "CONFIRMATION_REQUIRED"}
    assert [one for one in again if not one.is_equal] == []  # AUD-09, though the log has the end of the account only
    for closed in ("live_trading", "live_trading_ack", "live_accounts"):
        missing = {name: value for name, value in live.items() if name != closed}
        async with running(tmp_path, gateway, clock, **missing) as world:
            assert (await world.buy())["code"] == "LIVE_TRADING_LOCKED", closed
    for changed, code in (
        ({"enable_trading": False}, "TRADING_DISABLED"),
        ({"live_accounts": "U7654321"}, "ACCOUNT_NOT_ACCEPTED"),
    ):
        async with running(tmp_path, gateway, clock, **{**live, **changed}) as world:
            assert (await world.buy())["code"] == code
    async with running(tmp_path, gateway, clock, **live, dry_run=True) as world:
        tried = await confirmed(world, await proved(world))
        assert (tried["success"], tried["outcome"]) == (True, "dry_run")
        (tmp_path / "state" / "KILL").touch()
        assert (await world.buy())["code"] == "KILL_SWITCH_ACTIVE"
    assert world.sent == 1
