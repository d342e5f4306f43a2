"""One connection as a state machine without I/O: bytes in, events out (tws-wire guide, sections 1 and 2).

It knows the greeting, the negotiation of the version and the framing. It does not know what a request means, and it
writes nothing but the handshake reply: the server that owns the socket does the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from ibkr_mcp_server.simulator.requests import Request, StartApi, decode_request
from ibkr_mcp_server.simulator.wire import FrameDecoder, encode_frame, split_fields

OLDEST_VERSION = 176
NEWEST_VERSION = 178

_GREETING = b"API\0"
_OFFER = re.compile(r"v(\d{1,4})(?:\.\.(\d{1,4}))?(?: .*)?", re.DOTALL)


class ConversationEnded(Exception):
    """The stream makes no sense or the versions do not meet; close the connection. The text says why."""


@dataclass(frozen=True, kw_only=True)
class Handshake:
    """The client is met at `version`; send `reply` and nothing else until it starts the API."""

    version: int
    reply: bytes


Event: TypeAlias = Handshake | Request


class Conversation:
    """Turns what one client sends into events. Feed it any segmentation of the stream."""

    def __init__(self) -> None:
        self.version = 0
        self.started = False
        self._greeting = b""
        self._frames = FrameDecoder()

    def receive(self, data: bytes, *, connection_time: str) -> Iterator[Event]:
        """The events that `data` completes, in order.

        Requests before startApi are dropped; TWS would not have answered them either (section 2).

        Raises:
            ConversationEnded: after the events before it; nothing more can be read from this client.
        """
        if len(self._greeting) < len(_GREETING):
            missing = len(_GREETING) - len(self._greeting)
            self._greeting += data[:missing]
            data = data[missing:]
            if not _GREETING.startswith(self._greeting):
                raise ConversationEnded(f"the greeting was {self._greeting!r}, not {_GREETING!r}")
        for payload in self._frames.feed(data):
            if not self.version:
                yield self._negotiate(payload, connection_time)
                continue
            request = decode_request(split_fields(payload), self.version)
            self.started = self.started or isinstance(request, StartApi)
            if self.started:
                yield request
        if self._frames.broken:
            raise ConversationEnded(self._frames.broken)

    def _negotiate(self, payload: bytes, connection_time: str) -> Handshake:
        offer = _OFFER.fullmatch(payload.decode("ascii", "replace").rstrip("\0"))
        if offer is None:
            raise ConversationEnded(f"no version offer: {payload[:40]!r}")
        lowest = int(offer[1])
        highest = int(offer[2] or offer[1])
        if highest < OLDEST_VERSION or lowest > NEWEST_VERSION:
            raise ConversationEnded(
                f"the client speaks versions {lowest} to {highest}, this gateway {OLDEST_VERSION} to {NEWEST_VERSION}"
            )
        self.version = min(NEWEST_VERSION, highest)
        return Handshake(version=self.version, reply=encode_frame([self.version, connection_time]))
