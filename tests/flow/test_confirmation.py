"""Two steps to an order: a ticket sends once, for its agent, exactly what it shows, in the state it was made in."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mcp.types import ElicitResult
from sqlalchemy import text

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.safety.operator import OperatorProof
from ibkr_mcp_server.safety.roles import Role
from ibkr_mcp_server.simulator.requests import PlaceOrder
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.tools.calls import FLAGGED
from tests.harness import World, running
from tests.people import people, queue

PAPER: dict[str, Any] = {"confirm_above_usd": 500}


async def prepared(world: World, quantity: float = 30, tool: str = "place_limit_order", **more: Any) -> dict[str, Any]:
    arguments = world.resting(quantity, **more) if tool == "place_limit_order" else {
        "symbol": "AAPL", "action": "BUY", "quantity": quantity, **more
    }  # fmt: skip
    return await world.call("prepare_order", tool=tool, arguments=arguments)


def _terms(sent: PlaceOrder) -> tuple[str, float, float]:
    """Side, quantity and limit of what reached the gateway."""
    return sent.terms.action, float(sent.terms.quantity or 0), float(sent.terms.limit_price or 0)


async def commit(world: World, ticket: str) -> dict[str, Any]:
    return await world.call("commit_order", ticket=ticket)


async def test_above_the_amount_an_agent_orders_in_two_steps_and_each_ticket_is_good_once(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """LLM-06, LLM-07, ID-01."""
    async with running(tmp_path, gateway, clock, **PAPER) as world:
        small = await world.buy(1)
        direct = await world.buy(30)
        assert (small["success"], direct["code"], direct["check"], direct["limit"], direct["observed"]) == (
            True, "CONFIRMATION_REQUIRED", "confirmation", "agent", "nobody",
        )  # fmt: skip
        assert "prepare_order" in direct["next_step"]
        ticket = await prepared(world)
        assert (ticket["confirm_by"], world.sent) == ("agent", 1)
        [terms] = ticket["terms"]
        assert (terms["action"], terms["quantity"], terms["order_type"], terms["tif"]) == ("BUY", "30", "LMT", "DAY")
        assert Decimal(str(ticket["worst_case_value_usd"])) == 30 * Decimal(str(terms["limit_price"]))
        assert {"order_value", "position_size"} <= {limit["check"] for limit in ticket["limits"]}

        altered = await world.call("commit_order", ticket=ticket["ticket"], quantity=31)
        assert (altered["code"], world.sent) == ("UNKNOWN_ARGUMENT", 1)
        # The key of a ticket is no ticket.
        bare = await world.buy(30, client_request_id=ticket["client_request_id"])
        assert (bare["code"], world.sent) == ("CONFIRMATION_REQUIRED", 1)

    async with running(tmp_path, gateway, clock, **PAPER) as world:  # it is durable
        sent = await commit(world, ticket["ticket"])
        assert (sent["success"], sent["client_request_id"], world.sent) == (True, ticket["client_request_id"], 2)
        assert _terms(gateway.received_orders[-1]) == ("BUY", 30.0, float(terms["limit_price"]))
        again = await commit(world, ticket["ticket"])
        assert (again["code"], world.sent) == ("TICKET_USED", 2)
        assert ticket["client_request_id"] in again["next_step"]
        [issued] = await world.records(EventType.CONFIRMATION_ISSUED)
        [used] = await world.records(EventType.CONFIRMATION_USED)
        assert issued.outcome["terms_hash"] == used.outcome["terms_hash"]
        assert used.intent_id == (await world.intent(ticket["client_request_id"])).intent_id

        # What lowers the risk needs nobody's yes.
        gateway.add_position("DU9000001", "MSFT", 1_000, 100)
        await world.until(lambda: world.app.desk.broker.known_positions())
        await world.call("get_market_data", symbols=["MSFT"])
        closing = await world.call("close_position", symbol="MSFT", quantity=20)
        assert closing.get("code") != "CONFIRMATION_REQUIRED", closing
        cancelled = await world.call("cancel_order", perm_id=sent["perm_id"])
        assert cancelled["success"]


async def test_a_ticket_ends_and_is_void_in_another_state_for_another_agent_or_order(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """LLM-06, ACC-11."""
    gateway.set_accounts("DU9000001", "DU9000002")
    async with running(tmp_path, gateway, clock, **PAPER) as world:
        known = await people(world)
        for unknown in ("0" * 16, "f" * 16):
            assert (await commit(world, unknown))["code"] == "TICKET_UNKNOWN"
        late = await prepared(world)
        clock.step_wall(timedelta(hours=-1))
        await clock.advance(60)
        await world.until_up()
        assert (await commit(world, late["ticket"]))["code"] == "TICKET_EXPIRED"

        foreign = await prepared(world)
        await world.app.desk.database.run(
            lambda c: c.execute(text("UPDATE tickets SET actor_id = 'another agent'")).rowcount
        )
        assert (await commit(world, foreign["ticket"]))["code"] == "TICKET_UNKNOWN"

        other = await prepared(world)
        await world.app.desk.database.run(lambda c: c.execute(text("UPDATE tickets SET terms_hash = 'other'")).rowcount)
        void = await commit(world, other["ticket"])
        assert (void["code"], "would not be the one that the ticket shows" in void["error"]) == ("TICKET_VOID", True)

        before = await prepared(world)
        await world.call("emergency_stop", reason="in between")
        assert (await commit(world, before["ticket"]))["code"] == "KILL_SWITCH_ACTIVE"
        await world.app.desk.safety.kill_switch.clear(known["ann"], "looked at it")
        assert (await commit(world, before["ticket"]))["code"] == "TICKET_VOID"

        moved = await prepared(world)
        assert (await world.call("switch_account", account="DU9000002"))["success"]
        assert (await commit(world, moved["ticket"]))["code"] == "TICKET_VOID"
        assert world.sent == 0


async def test_a_market_order_of_a_ticket_never_goes_out_at_a_worse_cap_than_was_shown(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """LLM-06: the worst case that was shown is the worst case."""
    async with running(tmp_path, gateway, clock, **PAPER) as world:
        gateway.market.set_quote(gateway.con_id("AAPL"), bid="99.98", ask="100.00", last="100.00")
        ticket = await prepared(world, tool="place_market_order")
        cap = Decimal(str(ticket["terms"][0]["market_cap_price"]))
        gateway.market.set_quote(gateway.con_id("AAPL"), bid="101.98", ask="102.00", last="102.00")
        await clock.advance(1)
        sent = await commit(world, ticket["ticket"])
        assert sent["success"], sent
        assert Decimal(str(_terms(gateway.received_orders[-1])[2])) == cap


async def test_a_person_confirms_outside_of_mcp_and_nobody_else_can(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """LLM-07, T-36."""
    async with running(tmp_path, gateway, clock, human_confirm_above_usd=500) as world:
        known = await people(world, ben=Role.OPERATOR, cat=Role.SENIOR)
        ticket = await prepared(world)
        assert ticket["confirm_by"] == "person"
        waiting = await commit(world, ticket["ticket"])
        assert (waiting["code"], waiting["observed"], world.sent) == ("PENDING_CONFIRMATION", ticket["approval"], 0)
        with pytest.raises(Refused, match="ROLE_TOO_LOW"):
            await queue(world).approve(ticket["approval"], known["ben"])
        approval = await queue(world).approve(ticket["approval"], known["cat"])
        assert approval.terms[0].startswith("BUY 30 AAPL (STK, contract 265598), LMT, in ")
        assert "limit" in approval.terms[0]
        await clock.advance(120)  # people take longer than agents
        await world.until_up()
        assert (await commit(world, ticket["ticket"]))["success"]
        assert (await commit(world, ticket["ticket"]))["code"] == "TICKET_USED"
        assert world.sent == 1

        denied = await prepared(world, symbol="MSFT")
        await queue(world).refuse(denied["approval"], known["ben"], "not today")
        assert (await commit(world, denied["ticket"]))["code"] == "CONFIRMATION_DENIED"
        # An approval of one order is none of another.
        other = await prepared(world, symbol="IBM")
        await world.app.desk.database.run(
            lambda c: (
                c.execute(
                    text("UPDATE tickets SET approval_id = :a WHERE ticket_id = :t"),
                    {"a": ticket["approval"], "t": other["ticket"]},
                ).rowcount
            )
        )
        assert (await commit(world, other["ticket"]))["code"] == "TICKET_VOID"
        assert world.sent == 1


async def test_requests_for_a_yes_are_few_and_a_repeat_that_is_meant_takes_one(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """LLM-08, ORD-21."""
    few: dict[str, Any] = {
        "max_pending_confirmations": 3,
        "max_confirmations_per_hour": 5,
        "repeated_order_seconds": 60,
    }
    async with running(tmp_path, gateway, clock, **PAPER, **few) as world:
        assert (await world.buy(1))["success"]
        held = await world.buy(1)
        assert (held["code"], "prepare_order" in held["next_step"]) == ("REPEATED_ORDER", True)
        lifted = await prepared(world, 1)
        assert lifted["confirm_by"] == "agent"
        assert (await commit(world, lifted["ticket"]))["success"]

        for _ in range(3):
            assert (await prepared(world))["success"]
        fourth = await prepared(world)
        assert (fourth["code"], fourth["observed"], fourth["limit"]) == ("CONFIRMATION_LIMIT", "3", "3")
        assert (await prepared(world, 2))["confirm_by"] == "nobody"  # asks nobody
        await clock.advance(61)
        await world.until_up()
        assert (await prepared(world))["success"]
        full = await prepared(world)
        assert (full["code"], full["observed"], full["limit"]) == ("CONFIRMATION_LIMIT", "5", "5")
        assert 3_500 < full["retry_after_s"] < 3_600


async def test_text_that_reads_like_an_instruction_holds_the_next_opening_order_to_more_and_unlocks_nothing(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """LLM-03, A14: the gateway's news of Wednesdays tries it."""
    week = {"symbol": "AAPL", "start": "2026-10-01T00:00:00Z", "end": "2026-10-20T00:00:00Z", "total_results": 50}
    async with running(tmp_path, gateway, clock, **PAPER) as world:
        calm = await world.call("get_news", symbol="AAPL", total_results=2)
        assert (await world.buy(1))["success"]
        assert "warnings" not in calm
        flagged = await world.call("get_news", **week)
        assert [FLAGGED in warning for warning in flagged["warnings"]] == [True]
        [told] = (await world.call("get_safety_status"))["overrides"]
        assert "read like an instruction" in told

        assert (await world.buy(1))["code"] == "CONFIRMATION_REQUIRED"
        assert (await prepared(world))["confirm_by"] == "person"
        ticket = await prepared(world, 1)
        assert ticket["confirm_by"] == "agent"
        assert (await commit(world, ticket["ticket"]))["success"]
        assert (await world.buy(1))["success"]  # the next one was that
        assert (await world.call("get_safety_status"))["overrides"] == []
        records = await world.records(EventType.TEXT_FLAGGED)
        assert [(record.tool, record.outcome["texts"] >= 2) for record in records] == [("get_news", True)]


async def test_a_client_that_says_yes_is_the_agents_second_step_and_never_a_person(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """LLM-07, A11, TW-11, T-36: a client may answer by itself; a stop while it is asked outranks its yes."""
    asked: list[str] = []
    answers = ["decline", "accept", "accept"]

    async def answer(context: Any, question: Any) -> ElicitResult:
        asked.append(question.message)
        if not answers[1:]:
            (tmp_path / "state" / "KILL").touch()
        return ElicitResult(action=answers.pop(0), content={"send": True})  # type: ignore[arg-type]  # the words of the protocol

    bounds = PAPER | {"human_confirm_above_usd": 6_000}
    async with running(tmp_path, gateway, clock, mode="legacy", asked=answer, **bounds) as world:
        assert ((await world.buy(30))["code"], world.sent) == ("CONFIRMATION_REQUIRED", 0)
        sent = await world.buy(30)
        assert (sent["success"], world.sent, len(asked)) == (True, 1, 2)
        assert "action BUY, quantity 30" in asked[0]
        big = await world.buy(60)
        assert (big["code"], big["limit"], world.sent, len(asked)) == ("CONFIRMATION_REQUIRED", "person", 1, 2)
        assert ((await world.buy(30))["code"], world.sent, len(asked)) == ("KILL_SWITCH_ACTIVE", 1, 3)


STEPS = st.one_of(
    st.tuples(st.just("prepare"), st.sampled_from([30, 35]), st.sampled_from(["AAPL", "MSFT"])),
    st.tuples(st.just("commit"), st.integers(0, 5), st.just("")),
    st.tuples(st.just("commit with"), st.integers(0, 5), st.sampled_from(["quantity", "arguments", "tool"])),
    st.tuples(st.just("place with key"), st.integers(0, 5), st.sampled_from(["AAPL", "MSFT"])),
    st.tuples(st.just("wait"), st.sampled_from([1, 30, 61]), st.just("")),
    st.tuples(st.just("stop"), st.just(0), st.just("")),
)


@given(st.lists(STEPS, min_size=8, max_size=25))
@settings(
    max_examples=4, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
def test_no_sequence_of_calls_uses_a_ticket_twice_or_for_other_terms(steps: list[tuple[str, int, str]]) -> None:
    """LLM-06: whatever an agent calls, in whatever order."""
    asyncio.run(_played(steps))


async def _played(steps: list[tuple[str, int, str]]) -> None:
    clock, many = ManualClock(), PAPER | {"max_pending_confirmations": 100, "max_confirmations_per_hour": 100}
    with TemporaryDirectory() as place:
        async with (
            PaperGateway(clock=clock, market_always_open=True) as gateway,
            running(Path(place), gateway, clock, **many) as world,
        ):
            tickets: list[dict[str, Any]] = []
            person = (await people(world))["ann"]
            for step, number, word in [("prepare", 30, "AAPL"), *steps]:
                await _step(world, person, tickets, step, number, word)
                shown = [ticket["terms"][0] for ticket in tickets]
                left = [
                    (one["con_id"], one["action"], float(one["quantity"]), float(one["limit_price"])) for one in shown
                ]
                for order in gateway.received_orders:  # each was shown, and no ticket was used for two
                    left.remove((order.contract.con_id, *_terms(order)))


async def _step(
    world: World, person: OperatorProof, tickets: list[dict[str, Any]], step: str, number: int, word: str
) -> None:
    if step == "prepare":
        answer = await prepared(world, number, symbol=word)
        if answer["success"]:
            tickets.append(answer)
        return
    if step == "wait":
        await world.clock.advance(number)
        await world.until_up()
        return
    if step == "stop":
        await world.call("emergency_stop")
        await world.app.desk.safety.kill_switch.clear(person, "looked at it")
        return
    if not tickets:
        return
    ticket = tickets[number % len(tickets)]
    if step == "commit":
        await commit(world, ticket["ticket"])
    elif step == "commit with":
        answer = await world.call("commit_order", ticket=ticket["ticket"], **{word: 999})
        assert answer["code"] == "UNKNOWN_ARGUMENT"
    else:
        answer = await world.buy(40, symbol=word, client_request_id=ticket["client_request_id"])
        assert answer["code"] in ("CONFIRMATION_REQUIRED", "IDEMPOTENCY_MISMATCH")
