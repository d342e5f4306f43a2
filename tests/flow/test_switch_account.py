"""Switching the account that calls mean which name none (ACC-11)."""

from __future__ import annotations

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.simulator.requests import ReqContractDetails
from tests.harness import running

FIRST, SECOND = "DU9000001", "DU9000002"
ONE, TWO = "******001", "******002"
"""As agents see and name them (LLM-10)."""


async def test_later_calls_mean_the_new_account_until_they_name_another() -> None:
    async with running() as world:
        world.gateway.add_position(SECOND, "MSFT", 5, "20.00")
        told = await world.call("switch_account", account=TWO)
        assert (told["account"], told["previous_account"]) == (TWO, ONE)

        assert (await world.call("get_account_summary"))["account"] == TWO
        assert [held["account"] for held in (await world.call("get_portfolio"))["positions"]] == [TWO]
        assert (await world.buy())["terms"]["account"] == TWO
        assert (await world.buy(account=ONE))["terms"]["account"] == ONE
        assert [order.terms.account for order in world.gateway.received_orders] == [SECOND, FIRST]
        entries = (await world.call("get_accounts"))["accounts"]
        assert [(one["account"], one["is_default"]) for one in entries] == [(ONE, False), (TWO, True)]


async def test_what_is_closed_is_the_position_of_the_chosen_account() -> None:
    async with running() as world:
        world.gateway.add_position(SECOND, "MSFT", 5, "20.00")
        assert (await world.call("close_position", symbol="MSFT"))["code"] == "NO_POSITION"
        await world.call("switch_account", account=SECOND)
        closed = await world.call("close_position", symbol="MSFT")
        assert (closed["outcome"], closed["filled"], closed["terms"]["account"]) == ("filled", "5", TWO), closed


async def test_account_that_the_broker_does_not_list_is_refused_and_the_old_one_stays() -> None:
    """ACC-05, ACC-11."""
    async with running() as world:
        refused = await world.call("switch_account", account="DU1234567")
        assert (refused["code"], refused["check"]) == ("ACCOUNT_NOT_SERVED", "account")
        assert (await world.call("get_account_summary"))["account"] == ONE


async def test_nothing_is_switched_on_a_link_with_an_account_that_may_not_be_traded() -> None:
    """ACC-06."""
    async with running(simulator_accounts=(FIRST, "U1234567")) as world:
        for account in ("U1234567", FIRST):
            assert (await world.call("switch_account", account=account))["code"] == "ACCOUNT_NOT_ACCEPTED"
        assert (await world.call("get_account_summary"))["account"] == ONE


async def test_switch_is_verified_afresh_recorded_and_forgets_what_was_known_of_contracts() -> None:
    async with running() as world:
        await world.call("resolve_symbol", symbol="AAPL")
        await world.clock.advance(120)
        told = await world.call("switch_account", account=SECOND)
        assert told["accounts_verified_at"] == told["at"]
        [record] = [
            record for record in await world.records(EventType.DECISION) if record.decision_id == told["decision_id"]
        ]
        assert (record.tool, record.operation_type) == ("switch_account", "account_management")

        def asked() -> int:
            return sum(isinstance(entry.request, ReqContractDetails) for entry in world.gateway.received)

        before = asked()
        await world.call("resolve_symbol", symbol="AAPL")
        assert asked() == before + 1


async def test_orders_are_refused_when_the_chosen_account_is_served_no_more() -> None:
    """Never sent to an account that nobody chose."""
    async with running() as world:
        await world.call("switch_account", account=SECOND)
        world.gateway.faults.account_change(FIRST)
        await world.until(lambda: world.app.desk.broker.link.accounts == (FIRST,))
        await world.until_up()
        refused = await world.buy()
        assert refused["code"] == "ACCOUNT_NOT_SERVED"
        assert world.gateway.received_writes == []
        assert (await world.call("get_portfolio"))["code"] == "ACCOUNT_NOT_SERVED"
        assert (await world.buy(account=FIRST))["success"]
