"""What a client of any make meets on the socket: greeting, framing, odd messages, pace."""

from __future__ import annotations

import asyncio
import struct

import pytest

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway, serve_until_stopped
from tests.contract.clients import RawClient, raw_client

AAPL = 265598


@pytest.mark.parametrize(
    ("offer", "agreed"),
    [("v157..178", 178), ("v157..176", 176), ("v100..226 +PACEAPI", 178), ("v177", 177), ("v100..193", 178)],
)
async def test_version_is_the_highest_that_both_speak(gateway: PaperGateway, offer: str, agreed: int) -> None:
    async with raw_client(gateway) as client:
        assert await client.handshake(offer) == agreed


@pytest.mark.parametrize("offer", ["v100..175", "v201..226", "nonsense", ""])
async def test_client_without_a_common_version_is_cut_off(gateway: PaperGateway, offer: str) -> None:
    async with raw_client(gateway) as client:
        client.send_bytes(b"API\0" + struct.pack(">I", len(offer)) + offer.encode())
        assert await client.closed_by_peer()


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"API\0\xff\xff\xff\xff", b"\0" * 64])
async def test_garbage_ends_only_its_own_connection(gateway: PaperGateway, data: bytes) -> None:
    async with raw_client(gateway) as stranger, raw_client(gateway) as client:
        stranger.send_bytes(data)
        assert await stranger.closed_by_peer()
        assert await client.handshake() == 178


async def test_nothing_but_the_handshake_reply_is_sent_before_the_api_starts(gateway: PaperGateway) -> None:
    async with raw_client(gateway) as client:
        await client.handshake(client_id=None)
        client.send(49, 1)  # dropped: the API has not been started
        client.send(71, 2, 5, "")
        first = await client.next()
        assert first[0] == "15"
        client.send(49, 1)
        assert (await client.next_of(49))[2] == "1795186800"


async def test_bytes_arriving_one_by_one_make_the_same_conversation(gateway: PaperGateway) -> None:
    async with raw_client(gateway) as client:
        stream = b"API\0" + b"\0\0\0\x09v157..178" + b"\0\0\0\x0871\x002\x001\0\0" + b"\0\0\0\x0549\x001\0"
        for byte in stream:
            client.send_bytes(bytes([byte]))
        assert await client.next() == ["178", "20261120 10:00:00 US/Eastern"]
        assert len(await client.next_of(49)) == 3


async def test_unknown_and_unreadable_messages_are_320_and_the_connection_stays(gateway: PaperGateway) -> None:
    async with raw_client(gateway) as client:
        await client.handshake()
        client.send(9999, 1)
        client.send("x")
        client.send(3, 41, "not a contract id")
        codes: list[str] = []
        while len(codes) < 3:
            about, code = (await client.next_of(4))[2:4]
            if code == "320":
                codes.append(about)
        assert codes == ["-1", "-1", "41"]
        client.send(49, 1)
        await client.next_of(49)


async def test_more_than_fifty_messages_a_second_are_warned_about(gateway: PaperGateway) -> None:
    async with raw_client(gateway) as client:
        await client.handshake()
        for _ in range(160):
            client.send(49, 1)
        answers, warnings = 0, 0
        while answers < 160:
            fields = await client.next()
            answers += fields[0] == "49"
            warnings += fields[0] == "4" and fields[3] == "100"
        assert 1 <= warnings <= 3


async def test_message_lengths_fit_the_version(gateway: PaperGateway) -> None:
    """`ib_insync` at 176 accepts exactly these field counts (guide, sections 9 and 10)."""
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00")
    counts = {}
    for version in (176, 177, 178):
        async with raw_client(gateway) as client:
            await client.handshake(f"v157..{version}", client_id=version)
            place_order(client, version, order_id=1)
            open_order = await client.next_of(5)
            execution = await client.next_of(11)
            client.send(99, 0)
            completed = await client.next_of(101)
            counts[version] = len(open_order), len(execution), len(completed)
    assert counts == {176: (136, 31, 101), 177: (135, 31, 100), 178: (135, 32, 100)}


async def test_every_list_request_has_its_end_marker_when_empty(gateway: PaperGateway) -> None:
    requests = {
        ("5", "1"): "53",
        ("16", "1"): "53",
        ("99", "0"): "102",
        ("7", "3", "21", "0", "", "", "", "", "", ""): "55",
        ("61", "1"): "62",
        ("62", "1", "22", "All", "NetLiquidation"): "64",
        ("6", "2", "1", "DU9000001"): "54",
        ("74", "1", "23", "DU9000001", ""): "72",
        ("76", "1", "24", "DU9000001", "", "0"): "74",
        ("78", "25", "AAPL", "", "STK", "265598"): "76",
        ("81", "26", "no such thing"): "79",
    }
    async with raw_client(gateway) as client:
        await client.handshake()
        for request, end in requests.items():
            client.send(*request)
            await client.next_of(int(end))


async def test_third_summary_subscription_is_322(gateway: PaperGateway) -> None:
    async with raw_client(gateway) as client:
        await client.handshake()
        for req_id in (1, 2):
            client.send(62, 1, req_id, "All", "NetLiquidation")
            await client.next_of(64)
        client.send(62, 1, 3, "All", "NetLiquidation")
        while (error := await client.next_of(4))[3] in ("2104", "2106", "2158"):
            pass
        assert error[2:4] == ["3", "322"]


async def test_cancelling_what_was_never_asked_for_is_an_error(gateway: PaperGateway) -> None:
    async with raw_client(gateway) as client:
        await client.handshake()
        client.send(2, 2, 77)
        client.send(25, 1, 78)
        codes: list[list[str]] = []
        while len(codes) < 2:
            error = await client.next_of(4)
            codes += [error[2:4]] if error[2] != "-1" else []
        assert codes == [["77", "300"], ["78", "366"]]


async def test_serving_says_where_and_ends_when_told() -> None:
    ready, stopped = asyncio.get_running_loop().create_future(), asyncio.Event()
    serving = asyncio.create_task(
        serve_until_stopped(
            clock=ManualClock(), stopped=stopped, ready=ready.set_result, port=0, faults=["delay_acks:1"]
        )
    )
    async with asyncio.timeout(5):
        host, _, port = (await ready).partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        stopped.set()
        await serving
        assert await reader.read() == b""
        writer.close()


async def test_slow_reader_is_cut_off_and_its_orders_stay(clock: ManualClock) -> None:
    async with PaperGateway(clock=clock, market_always_open=True) as gateway, raw_client(gateway) as client:
        await client.handshake()
        place_order(client, 178, order_id=1, order_type="LMT", limit="1")
        await gateway.wait_for(lambda: gateway.exchange.open_orders())
        for req_id in range(10_000):  # each answered with the account's sixty-odd rows, which nobody reads
            client.send(76, 1, req_id, "DU9000001", "", 0)
        await gateway.wait_for(lambda: gateway.client_ids == [])
        assert len(gateway.exchange.open_orders()) == 1


def place_order(
    client: RawClient, version: int, *, order_id: int, order_type: str = "MKT", limit: str = "1.7976931348623157e+308"
) -> None:
    """placeOrder as the official client writes it: unset values spelled out, no account default."""
    contract = [AAPL, "AAPL", "STK", "", "0.0", "", "", "SMART", "", "USD", "", ""]
    unset, none = "1.7976931348623157e+308", "2147483647"
    client.send(
        *(
            3,
            order_id,
            *contract,
            "",
            "",
            "BUY",
            "1",
            order_type,
            limit,
            unset,
            "DAY",
            "",
            "DU9000001",
            "",
            0,
            "",
            1,
            0,
        ),
        *(0, 0, 0, 0, 0, 0, "", 0, "", "", "", "", ""),
        *([""] if version < 177 else []),
        *("", 0, "", -1, 0, "", "", 0, "", "", 0, 0, "", 0, "", "", "", "", "", 0, "", "", "", ""),
        *(0, "", "", "", none, none, unset, "", "", "", "", 0, "", "", 0, 0, "", "", 0, "", 0, 0, 0),
        *(0, "", unset, unset, unset, unset, unset, 0, "", "", "", unset, "", "", "", "", 0, 0, 0, none),
        *(none, none, 0, "", ""),
    )
