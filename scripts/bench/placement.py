"""How long an order takes from the agent to the broker's word, beside the parts that nobody can avoid."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

from scripts.bench.kit import EMPTY_SERVER, OPEN_LIMITS, ORDERS, OURS, WARM_UP, Bench, RawStdio, row, timed


def placement_figures(bench: Bench) -> None:
    """place_limit_order over stdio, answered after the broker's acknowledgement, beside bare ib_async."""
    print("\nA limit order, acknowledged by the same paper gateway, milliseconds")
    with bench.paper_gateway() as port:
        bare = asyncio.run(bare_placements(port))
        mode = {"IBKR_BROKER_MODE": "paper", "IBKR_PORT": str(port), **OPEN_LIMITS}
        server = RawStdio(OURS, bench.environment("placement", **mode))
        wait_until_up(server)
        price = float(server.call("get_market_data", symbols=["AAPL"])["quotes"][0]["bid"]) * 0.9

        def place() -> None:
            answer = server.call(
                "place_limit_order", symbol="AAPL", action="BUY", quantity=1, limit_price=round(price, 2)
            )
            assert answer["success"], answer

        ours = timed(place)
        empty = RawStdio([sys.executable, "-c", EMPTY_SERVER], bench.environment("empty"))
        tool = timed(lambda: empty.call("echo", x=1))
        empty.close()
        server.close()
    anchor = statistics.median(bare) + statistics.median(tool)
    row("empty MCP tool over stdio", tool, anchor)
    row("bare ib_async placement", bare, anchor)
    row("place_limit_order over stdio", ours, anchor)
    print(f"{'(ratios are to empty tool + bare placement)':<44}")


def wait_until_up(server: RawStdio) -> None:
    for _ in range(200):
        if server.call("get_connection_status")["link"]["state"] == "up":
            return
    raise RuntimeError("the link did not come up")


async def bare_placements(port: int) -> list[float]:
    import ib_async

    ib = ib_async.IB()
    await ib.connectAsync("127.0.0.1", port, clientId=91)
    (contract,) = await ib.qualifyContractsAsync(ib_async.Stock("AAPL", "SMART", "USD"))
    taken = []
    for turn in range(WARM_UP + ORDERS):
        order = ib_async.LimitOrder("BUY", 1, 10.0, account=ib.managedAccounts()[0])
        began = time.perf_counter()
        trade = ib.placeOrder(contract, order)
        while trade.orderStatus.status not in ("PreSubmitted", "Submitted"):
            await trade.statusEvent
        if turn >= WARM_UP:
            taken.append((time.perf_counter() - began) * 1000)
    ib.disconnect()
    return taken
