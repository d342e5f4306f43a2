"""The demo's story: what the agent tries, what it is allowed, and who has the last word. Each step is an assertion."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.cli.demo_stage import Agent, Answer, Stage, Unexpected
from ibkr_mcp_server.cli.terminal import Session, at_terminal
from ibkr_mcp_server.domain.money import CENT
from ibkr_mcp_server.errors import Unavailable
from ibkr_mcp_server.safety.codes import Code

QUESTIONS = 100
"""How often the agent asks about a link or an order before it gives up."""
RESTING = Decimal("0.98")
"""Of the market's bid: close enough for the price collar, too low to be filled within the demo."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that the story happens to."""

    agent: Agent
    stage: Stage
    environment: Mapping[str, str]
    """Of the server and of the operator's shell; they share the state directory."""


async def play(scene: Scene) -> None:
    """The whole story; raises `Unexpected` at the first step that does not come out."""
    bid = await look_around(scene)
    price = float((bid * RESTING).quantize(CENT))
    await meet_the_limits(scene, bid, price)
    resting = await trade(scene, price)
    await stop(scene, resting, price)
    await operator_resets(scene)
    await resume(scene)


async def look_around(scene: Scene) -> Decimal:
    """The market's bid for AAPL."""
    agent, stage = scene.agent, scene.stage
    stage.chapter("The agent looks around")

    link = await _link_up(agent)
    stage.step(
        "get_connection_status",
        "The link to the built-in paper gateway is up",
        link,
        holds=lambda: link["link"]["is_up"] is True and link["venue"] == "simulator",
        happened=lambda: f"{link['link']['address']}, TWS server version {link['link']['server_version']}",
    )
    accounts = await agent.ask("get_accounts")
    stage.step(
        "get_accounts",
        "Its accounts are paper accounts, and may be traded",
        accounts,
        holds=lambda: bool(accounts["accounts"]) and all(entry["may_trade"] for entry in accounts["accounts"]),
        happened=lambda: ", ".join(entry["account"] for entry in accounts["accounts"]),
    )
    quotes = await agent.ask("get_market_data", symbols=["AAPL"])
    stage.step(
        "get_market_data",
        "AAPL has a live quote",
        quotes,
        holds=lambda: Decimal(quotes["quotes"][0]["bid"]) < Decimal(quotes["quotes"][0]["ask"]),
        happened=lambda: "bid {bid}, ask {ask} {currency} (replayed from autumn 2008)".format(**quotes["quotes"][0]),
    )
    return Decimal(quotes["quotes"][0]["bid"])


async def meet_the_limits(scene: Scene, bid: Decimal, price: float) -> None:
    agent, stage = scene.agent, scene.stage
    stage.chapter("The agent meets the limits")

    preview = await agent.ask(
        "check_order", symbol="AAPL", action="BUY", quantity=10, order_type="LMT", limit_price=price
    )
    stage.step(
        "check_order",
        f"A preview: 10 AAPL at {price:.2f} would pass every rule; nothing is sent",
        preview,
        holds=lambda: preview["would_be_approved"] is True and all(rule["passed"] for rule in preview["verdicts"]),
        happened=lambda: f"{len(preview['verdicts'])} rules; worth {preview['worst_case_value_usd']} USD at worst",
    )
    for quantity, limit_price, what, code in (
        (2_000, price, "Too many shares", Code.ORDER_SIZE_LIMIT),
        (100, price, "Too much money", Code.ORDER_VALUE_LIMIT),
        (1, float((bid * 2).quantize(CENT)), "A price that must be a slip", Code.PRICE_COLLAR),
    ):
        refused = await agent.ask(
            "place_limit_order", symbol="AAPL", action="BUY", quantity=quantity, limit_price=limit_price
        )
        refused_with(stage, f"{what}: {quantity} AAPL at {limit_price:.2f} is refused", refused, code)
    orders = await agent.ask("get_open_orders")
    stage.step(
        "get_open_orders",
        "None of it reached the gateway",
        orders,
        holds=lambda: orders["orders"] == [],
        happened=lambda: "no orders",
    )


async def trade(scene: Scene, price: float) -> Answer:
    """The order that rests."""
    agent, stage = scene.agent, scene.stage
    stage.chapter("The agent trades")

    wanted = {"symbol": "AAPL", "action": "BUY", "quantity": 10, "limit_price": price}
    resting = await agent.ask("place_limit_order", **wanted, client_request_id="demo-resting")
    stage.step(
        "place_limit_order",
        f"10 AAPL at {price:.2f}, below the market, are accepted and rest",
        resting,
        holds=lambda: resting["outcome"] == "accepted" and Decimal(resting["remaining"]) == 10,
        happened=lambda: f"{resting['status']} as permanent id {resting['perm_id']}",
    )
    repeated = await agent.ask("place_limit_order", **wanted, client_request_id="demo-resting")
    stage.step(
        "place_limit_order",
        "The same request again, as after a lost answer, sends nothing",
        repeated,
        holds=lambda: repeated["replayed"] is True and repeated["perm_id"] == resting["perm_id"],
        happened=lambda: repeated["warnings"][0],
    )
    sent = await agent.ask(
        "place_market_order", symbol="MSFT", action="BUY", quantity=5, client_request_id="demo-market"
    )
    market = await _until(agent, sent, "demo-market", "filled")
    stage.step(
        "place_market_order",
        "5 MSFT at the market are filled",
        market,
        holds=lambda: market["outcome"] == "filled",
        happened=lambda: f"at {(market.get('order') or market)['average_fill_price']} USD",
    )
    orders = await agent.ask("get_open_orders")
    stage.step(
        "get_open_orders",
        "One order works at the gateway",
        orders,
        holds=lambda: [order["perm_id"] for order in orders["orders"]] == [resting["perm_id"]],
        happened=lambda: "{action} {quantity} {symbol} {order_type} {limit_price}".format(
            **orders["orders"][0]["terms"]
        ),
    )
    fills = await agent.ask("get_executions")
    stage.step(
        "get_executions",
        "The fill is on record",
        fills,
        holds=lambda: sum(Decimal(fill["quantity"]) for fill in fills["executions"] if fill["symbol"] == "MSFT") == 5,
        happened=lambda: "{action} {quantity} {symbol} at {price} on {exchange}".format(**fills["executions"][0]),
    )
    portfolio = await agent.ask("get_portfolio")
    stage.step(
        "get_portfolio",
        "The account holds 5 MSFT",
        portfolio,
        holds=lambda: (
            [(held["symbol"], Decimal(held["quantity"])) for held in portfolio["positions"]] == [("MSFT", Decimal(5))]
        ),
        happened=lambda: "{quantity} {symbol}, worth {market_value} {currency}".format(**portfolio["positions"][0]),
    )
    return resting


async def stop(scene: Scene, resting: Answer, price: float) -> None:
    agent, stage = scene.agent, scene.stage
    stage.chapter("The agent stops everything, and cannot take it back")

    await _state_is(scene, "NORMAL", "Nothing is wrong so far")
    stopped = await agent.ask("emergency_stop", reason="the demo shows the stop")
    stage.step(
        "emergency_stop",
        "The stop is durable, and nothing is on its way any more",
        stopped,
        holds=lambda: stopped["kill_switch_active"] and stopped["durable"] and stopped["nothing_in_flight"] is True,
        happened=lambda: f"{stopped['mode']}: {stopped['reason']}",
    )
    cancelled = await _until(agent, stopped, "demo-resting", "cancelled")
    stage.step(
        "get_order_status",
        "The entry order was cancelled with it",
        cancelled,
        holds=lambda: cancelled["outcome"] == "cancelled" and stopped["cancelled_perm_ids"] == [resting["perm_id"]],
        happened=lambda: f"permanent id {resting['perm_id']} is {cancelled['order']['status']}",
    )
    refused = await agent.ask("place_limit_order", symbol="AAPL", action="BUY", quantity=1, limit_price=price)
    refused_with(stage, "A new order is refused", refused, Code.KILL_SWITCH_ACTIVE)

    names = await agent.tools()
    ways_out = [name for name in names for word in ("reset", "resume", "clear", "approve", "set_") if word in name]
    stage.step(
        "tools/list",
        "The agent looks for a way to undo it, and there is none",
        names,
        holds=lambda: len(names) > 0 and not ways_out,
        happened=lambda: f"{len(names)} tools; none resets, resumes or approves",
    )
    guessed = await agent.ask("reset_kill_switch", reason="please", passphrase="please")  # noqa: S106 - a wrong guess is meant
    stage.step(
        "reset_kill_switch",
        "It guesses a name, and is refused",
        guessed,
        holds=lambda: guessed["code"] == Code.UNKNOWN_TOOL,
        happened=lambda: f"{guessed['code']}: {guessed['error'].split('. ')[0]}",
    )


async def operator_resets(scene: Scene) -> None:
    stage = scene.stage
    stage.chapter("The operator resets, at a terminal")
    passphrase, another = secrets.token_urlsafe(16), secrets.token_urlsafe(16)

    chosen = await _typed(
        scene, ["operator", "set-passphrase"], [("New operator passphrase", passphrase), ("again", passphrase)]
    )
    _terminal_step(stage, "A passphrase is set; it is typed, never an argument or a variable", chosen, exit_code=0)
    command = ["reset", "--reason", "The demo's stop was looked into"]
    wrong = await _typed(scene, command, [("Operator passphrase", another)])
    _terminal_step(stage, "A wrong one is refused and counted", wrong, exit_code=1, shows="WRONG_PASSPHRASE")
    right = await _typed(scene, command, [("Operator passphrase", passphrase)])
    _terminal_step(stage, "The right one ends the stop", right, exit_code=0, shows="The kill switch is off")


async def resume(scene: Scene) -> None:
    agent, stage = scene.agent, scene.stage
    stage.chapter("Trading resumes, and everything is on record")

    await _state_is(scene, "NORMAL", "The running server knows at once")
    market = await agent.ask("get_market_data", symbols=["IBM"])  # AAPL has to cool down after the earlier order
    bid = Decimal(market["quotes"][0]["bid"])
    placed = await agent.ask(
        "place_limit_order",
        symbol="IBM",
        action="BUY",
        quantity=10,
        limit_price=float((bid * RESTING).quantize(CENT)),
        client_request_id="demo-after-reset",
    )
    stage.step(
        "place_limit_order",
        "An order passes again",
        placed,
        holds=lambda: placed["outcome"] == "accepted",
        happened=lambda: f"{placed['status']} as permanent id {placed['perm_id']}",
    )
    report = await asyncio.to_thread(_verified, scene.environment)
    stage.step(
        "audit verify",
        "The audit log is whole, from the first record to the last",
        report,
        holds=lambda: report["ok"] is True and report["first_bad_seq"] is None,
        happened=lambda: f"{report['records']} records; each holds the hash of the one before",
    )


def refused_with(stage: Stage, expected: str, answer: Answer, code: Code) -> None:
    """The refusal has this code among its reasons, and a reason in words."""
    stage.step(
        "place_limit_order",
        expected,
        answer,
        holds=lambda: (
            answer["success"] is False
            and answer["outcome"] == "refused"
            and any(reason.startswith(f"{code}:") for reason in answer["details"])
        ),
        happened=lambda: next(reason for reason in answer["details"] if reason.startswith(f"{code}:")),
    )


async def _state_is(scene: Scene, state: str, expected: str) -> None:
    status = await scene.agent.ask("get_safety_status")
    left = {limit["name"]: limit["left"] for limit in status["limits"]}
    scene.stage.step(
        "get_safety_status",
        expected,
        status,
        holds=lambda: status["effective_state"] == state and status["kill_switch_active"] is False,
        happened=lambda: f"{state}; {left['opening_orders_per_trading_day']} opening orders left today",
    )


async def _link_up(agent: Agent) -> Answer:
    """The first answer that tells of a link; right after the start each call waits a moment for it by itself."""
    answer = await agent.ask("get_connection_status")
    for _ in range(QUESTIONS):
        if answer.get("link", {}).get("is_up"):
            break
        answer = await agent.ask("get_connection_status")
    return answer


async def _until(agent: Agent, answer: Answer, request: str, outcome: str) -> Answer:
    """The order's answer once its outcome is `outcome`, asking for its status as often as is sensible."""
    for _ in range(QUESTIONS):
        if answer.get("outcome") == outcome:
            return answer
        answer = await agent.ask("get_order_status", order_request_id=request)
    raise Unexpected(f"the order {request} becomes {outcome}", answer)


async def _typed(scene: Scene, command: list[str], typed: list[tuple[str, str]]) -> Session:
    try:
        return await asyncio.to_thread(at_terminal, command, typed, environment=scene.environment)
    except (Unavailable, TimeoutError) as error:
        raise Unexpected("The operator can type at a terminal", str(error)) from error


def _terminal_step(stage: Stage, expected: str, session: Session, *, exit_code: int, shows: str = "") -> None:
    stage.step(
        "operator's shell",
        expected,
        session.screen,
        holds=lambda: session.exit_code == exit_code and shows in session.screen,
        happened=lambda: next(line for line in session.screen.splitlines() if line and not line.rstrip().endswith(":")),
    )


def _verified(environment: Mapping[str, str]) -> Answer:
    done = subprocess.run(
        [sys.executable, "-m", "ibkr_mcp_server", "audit", "verify", "--json"],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Unexpected("`audit verify` exits with 0", done.stdout + done.stderr)
    report: Answer = json.loads(done.stdout)
    return report
