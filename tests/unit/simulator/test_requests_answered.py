"""No request that a client can send is left without an answer."""

from __future__ import annotations

from collections.abc import Iterator

from ibkr_mcp_server.simulator import requests
from ibkr_mcp_server.simulator.request_base import Request
from ibkr_mcp_server.simulator.requests import DECODERS, CancelOrder, GlobalCancel, PlaceOrder, StartApi
from ibkr_mcp_server.simulator.server import PaperGateway

IN_THE_GUIDE = {
    *(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 20, 22, 23, 24, 25, 49, 50, 51, 52, 53, 54, 55),
    *(56, 57, 58, 59, 61, 62, 63, 64, 71, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91),
    *(92, 93, 94, 95, 96, 97, 98, 99, 104),
}
BESIDE_IT = {18, 19, 21, 67, 68, 69, 70, 100, 101, 102, 103}
"""Advisors, exercise, display groups, event calendars: clients have calls for them."""
LEFT_OUT = {65, 66, 72, 73}
"""Verification of third-party programs, which TWS retired: an unknown message, error 320."""
TRADED = {PlaceOrder, CancelOrder, GlobalCancel, StartApi}
"""These go through the exchange, or come before there is a desk."""


def test_every_message_of_the_guide_is_read() -> None:
    assert set(DECODERS) == IN_THE_GUIDE | BESIDE_IT
    assert not LEFT_OUT & set(DECODERS)


def test_every_request_that_can_be_read_has_a_handler(gateway: PaperGateway) -> None:
    readable = {kind for kind in kinds(Request) if kind.__module__.startswith("ibkr_mcp_server.simulator.")}
    assert requests.UnknownRequest in readable
    assert readable - TRADED == set(gateway.answered_requests)


def kinds(parent: type[Request]) -> Iterator[type[Request]]:
    for child in parent.__subclasses__():
        yield child
        yield from kinds(child)
