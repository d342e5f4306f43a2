"""Options, futures and indices through the tools: named, valued with their multiplier, and judged like everything."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.flow.broker_kit import TamperedLine
from tests.harness import World, running

EXPIRY = "20261218"


async def near_the_money(world: World) -> dict[str, Any]:
    """A call on AAPL as the tools name it, with a strike near its price."""
    strike = round(await world.last_price("AAPL") / 5) * 5
    return {"symbol": "AAPL", "sec_type": "OPT", "last_trade_date": EXPIRY, "strike": strike, "right": "C"}


async def ask_of(world: World, option: dict[str, Any]) -> Decimal:
    resolved = await world.call("resolve_symbol", **option)
    ask = world.gateway.market.quote(resolved["instrument"]["con_id"]).ask
    assert ask is not None
    return ask


async def test_an_option_order_is_valued_with_its_multiplier_and_refused_above_the_value_limit() -> None:
    """ORD-07, FD-6: a premium of 5 is 500 dollars a contract."""
    async with running(max_order_value_usd="1000") as world:
        option = await near_the_money(world)
        ask = await ask_of(world, option)
        order = option | {"action": "BUY", "limit_price": float(ask)}
        too_many = int(1000 / (ask * 100)) + 1

        preview = await world.call("check_order", order_type="LMT", quantity=1, **order)
        assert Decimal(preview["worst_case_value_usd"]) == ask * 100
        assert preview["terms"]["multiplier"] == "100"

        refused = await world.call("place_limit_order", quantity=too_many, **order)
        assert refused["code"] == "ORDER_VALUE_LIMIT"
        assert refused["observed"] == f"{ask * 100 * too_many:,.2f} USD"
        assert world.sent == 0

        bought = await world.call("place_limit_order", quantity=too_many - 1, **order)
        assert bought["outcome"] == "filled"
        assert bought["terms"]["symbol"] == f"AAPL {EXPIRY} {option['strike']} C"
        assert bought["filled"] == str(too_many - 1)


async def test_writing_an_option_counts_its_strike_and_selling_a_held_one_does_not() -> None:
    async with running(max_order_value_usd="10000") as world:
        option = await near_the_money(world)
        ask = await ask_of(world, option)
        sale = option | {"action": "SELL", "quantity": 1, "limit_price": float(ask)}

        refused = await world.call("place_limit_order", **sale)
        assert refused["code"] == "ORDER_VALUE_LIMIT"
        worth = Decimal(refused["observed"].removesuffix(" USD").replace(",", ""))
        assert worth >= option["strike"] * 100 + ask * 100
        assert world.sent == 0

        bought = await world.call("place_limit_order", **sale | {"action": "BUY"})
        assert bought["outcome"] == "filled"
        await world.until(lambda: any(held.quantity for held in world.app.desk.broker.known_positions() or ()))
        preview = await world.call("check_order", order_type="LMT", **sale)
        assert (preview["effect"], preview["would_be_approved"]) == ("reduces", True)
        assert (await world.call("place_limit_order", **sale))["outcome"] in ("accepted", "filled")


async def test_an_order_whose_multiplier_the_broker_does_not_tell_is_refused(tmp_path: Path) -> None:
    """FD-6: nothing is assumed to be worth a hundredth of what it is."""

    def without_multiplier(fields: list[str]) -> list[list[str]]:
        if fields[0] == "10" and fields[3] == "OPT":
            fields[14] = ""
        return [fields]

    clock = ManualClock()
    gateway = PaperGateway(clock=clock, port=0)
    await gateway.start()
    try:
        async with TamperedLine(gateway.port) as line, running(tmp_path, gateway, clock, port=line.port) as world:
            line.tamper = without_multiplier
            option = await near_the_money(world)
            ask = await ask_of(world, option)
            refused = await world.call("place_limit_order", action="BUY", quantity=1, limit_price=float(ask), **option)
            assert refused["code"] == "ORDER_VALUE_UNKNOWN"
            assert "multiplier" in refused["error"]
            assert world.sent == 0
    finally:
        await gateway.stop()


async def test_a_future_counts_its_whole_contract_and_an_index_cannot_be_traded() -> None:
    async with running() as world:
        future = {"symbol": "ES", "sec_type": "FUT", "last_trade_date": "202612"}
        found = (await world.call("resolve_symbol", **future))["instrument"]
        assert (found["multiplier"], found["exchange"], found["sec_type"]) == ("50", "CME", "FUT")
        ask = world.gateway.market.quote(found["con_id"]).ask
        assert ask is not None
        refused = await world.call("place_limit_order", action="BUY", quantity=1, limit_price=float(ask), **future)
        assert refused["code"] == "ORDER_VALUE_LIMIT"
        assert refused["observed"] == f"{ask * 50:,.2f} USD"

        index = {"symbol": "SPX", "sec_type": "IND"}
        refused = await world.call("place_limit_order", action="BUY", quantity=1, limit_price=100.0, **index)
        assert refused["code"] == "NOT_TRADABLE"
        assert world.sent == 0


async def test_a_future_without_its_month_is_answered_with_the_months() -> None:
    async with running() as world:
        refused = await world.call("resolve_symbol", symbol="ES", sec_type="FUT")
        assert refused["code"] == "CONTRACT_AMBIGUOUS"
        assert "ES.CME.USD FUT" in refused["details"][0]
        assert "multiplier 50" in refused["details"][0]
        assert "last_trade_date" in refused["next_step"]


@pytest.mark.parametrize("missing", ["last_trade_date", "strike", "right"])
async def test_an_incomplete_option_is_refused_with_what_is_missing(missing: str) -> None:
    async with running() as world:
        option = await near_the_money(world)
        del option[missing]
        refused = await world.call("place_limit_order", action="BUY", quantity=1, limit_price=1.0, **option)
        assert refused["code"] == "CONTRACT_AMBIGUOUS"
        assert f"{missing} is missing" in refused["error"]
        assert world.sent == 0


async def test_the_contract_id_of_an_option_is_not_taken_for_another_one() -> None:
    """TW-10: what is said beside an id has to agree with it."""
    async with running() as world:
        option = await near_the_money(world)
        con_id = (await world.call("resolve_symbol", **option))["instrument"]["con_id"]
        order = {"action": "BUY", "quantity": 1, "limit_price": 1.0, "con_id": con_id}
        for wrong in ({"sec_type": "STK"}, {"right": "P"}, {"strike": 1}, {"last_trade_date": "20270115"}):
            refused = await world.call("place_limit_order", symbol="AAPL", **order, **wrong)
            assert refused["code"] == "CONTRACT_NOT_FOUND", wrong
        assert world.sent == 0
        assert (await world.call("resolve_symbol", symbol="AAPL", con_id=con_id))["instrument"]["strike"] == str(
            option["strike"]
        )
