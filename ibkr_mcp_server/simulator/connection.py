"""One client's socket: carries bytes between it and a `Conversation`, and acts out the faults of a line."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from typing import Protocol

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.simulator import replies
from ibkr_mcp_server.simulator.conversation import Conversation, ConversationEnded, Handshake
from ibkr_mcp_server.simulator.faults import Faults
from ibkr_mcp_server.simulator.feeds import Client
from ibkr_mcp_server.simulator.request_base import Request
from ibkr_mcp_server.simulator.wire import encode_frame

log = logging.getLogger(__name__)

LARGEST_BACKLOG_BYTES = 8 << 20
"""What a client may leave unread, or send to a frozen gateway, before its connection is cut."""
MESSAGES_PER_SECOND = 50
_BURST = 2 * MESSAGES_PER_SECOND
"""A client that keeps to 45 a second by its own clock may arrive bunched; only sustained excess is an error 100."""
DUPLICATE_ID_LINGER_SECONDS = 0.2


class Switchboard(Protocol):
    """The gateway, as its connections see it."""

    @property
    def faults(self) -> Faults: ...

    @property
    def clock(self) -> Clock: ...

    def connection_time(self) -> str: ...

    def connected(self, connection: Connection) -> None: ...

    def disconnected(self, connection: Connection) -> None: ...

    def requested(self, connection: Connection, request: Request) -> None:
        """A request arrived on a connection."""
        ...

    def processed(self) -> None:
        """A connection has worked off what it received: send all that came of it, to whomever, in few writes."""
        ...

    def wants_flush(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """One client's socket."""

    def __init__(self, gateway: Switchboard) -> None:
        self.conversation = Conversation()
        self.client: Client | None = None
        self.stalled: list[Request] = []
        self._gateway = gateway
        self._transport: asyncio.Transport | None = None
        self._outbox: list[bytes] = []
        self._backlog = bytearray()
        self._credit = float(_BURST)
        self._credited_at = 0.0
        self._credited_told = 0.0
        self._unread: deque[Request] = deque()
        """Requests that wait for a gateway that reads slowly."""
        self._reading: asyncio.Task[None] | None = None
        self._segments = bytearray()
        """What leaves in pieces, one for each turn of the loop."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if (raw := transport.get_extra_info("socket")) is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._credited_at = asyncio.get_running_loop().time()
        self._credited_told = self._gateway.clock.monotonic()
        self._gateway.connected(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._reading is not None:
            self._reading.cancel()
        self._gateway.disconnected(self)

    def data_received(self, data: bytes) -> None:
        if self._gateway.faults.frozen:
            self._backlog += data
            if len(self._backlog) > LARGEST_BACKLOG_BYTES:
                self.drop()
            return
        self._work_off(data)

    def thaw(self) -> None:
        data, self._backlog = bytes(self._backlog), bytearray()
        if data:
            self._work_off(data)

    def _work_off(self, data: bytes) -> None:
        try:
            for event in self.conversation.receive(data, connection_time=self._gateway.connection_time()):
                if self._transport is None or self._transport.is_closing():
                    break
                if isinstance(event, Handshake):
                    self._transport.write(event.reply)
                    continue
                self._check_pace()
                self._take(event)
        except ConversationEnded as ended:
            log.warning("closing a connection: %s", ended)
            self.drop()
        except Exception:
            log.exception("a request could not be handled")
            self.send(replies.error(-1, 320, "Error reading request. The gateway failed to handle it."))
        self._gateway.processed()

    def _take(self, request: Request) -> None:
        if self._gateway.faults.read_delay_seconds > 0 or self._unread:
            self._unread.append(request)
            if self._reading is None or self._reading.done():
                self._reading = asyncio.get_running_loop().create_task(self._read_slowly())
        else:
            self._gateway.requested(self, request)

    async def _read_slowly(self) -> None:
        while self._unread:
            await self._gateway.clock.sleep(self._gateway.faults.read_delay_seconds)
            self._gateway.requested(self, self._unread.popleft())
            self._gateway.processed()

    def _check_pace(self) -> None:
        # By the faster of the real clock and the gateway's own, which stands still or runs ahead in a scripted world.
        now, told = asyncio.get_running_loop().time(), self._gateway.clock.monotonic()
        elapsed = max(now - self._credited_at, told - self._credited_told)
        self._credit = min(float(_BURST), self._credit + elapsed * MESSAGES_PER_SECOND) - 1
        self._credited_at, self._credited_told = now, told
        if self._credit < 0:
            self._credit += MESSAGES_PER_SECOND  # one warning for a second's worth of excess
            self.send(replies.error(-1, 100, "Max rate of messages per second has been exceeded."))

    def send(self, message: replies.Message) -> None:
        """Queue a message; it leaves with the gateway's next flush."""
        for _ in range(self._gateway.faults.copies_of(message[0])):
            self._outbox.append(encode_frame(message))
        self._gateway.wants_flush(self)

    def send_raw(self, data: bytes) -> None:
        """Queue bytes that need not be a message."""
        self._outbox.append(data)
        self._gateway.wants_flush(self)

    def flush(self) -> None:
        messages, self._outbox = self._outbox, []
        if self._transport is None or self._transport.is_closing() or not messages:
            return
        data = b"".join(messages)
        faults = self._gateway.faults
        if self.client is not None and faults.take("cut_next_frame"):
            self._transport.write(data[: -(len(messages[-1]) // 2)])
            self._gateway.disconnected(self)
            self._transport.close()
        elif faults.segment_bytes or self._segments:
            idle = not self._segments
            self._segments += data
            if idle:
                self._send_segment()
        else:
            self._transport.write(data)
        if self._transport.get_write_buffer_size() > LARGEST_BACKLOG_BYTES:
            log.warning("closing a connection: its client does not read")
            self.drop()

    def _send_segment(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        size = self._gateway.faults.segment_bytes or len(self._segments)
        self._transport.write(bytes(self._segments[:size]))
        del self._segments[:size]
        if self._segments:
            asyncio.get_running_loop().call_soon(self._send_segment)

    def close_soon(self) -> None:
        """Close after a moment in which the client can read why; TWS waits as well (section 2)."""
        if self._transport is not None:
            asyncio.get_running_loop().call_later(DUPLICATE_ID_LINGER_SECONDS, self._transport.close)

    def drop(self) -> None:
        """End the connection at once. The client id is free from this moment on."""
        self._outbox.clear()
        if self.client is not None:
            self._gateway.disconnected(self)
        if self._transport is not None:
            self._transport.abort()
