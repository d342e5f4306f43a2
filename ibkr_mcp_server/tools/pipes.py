"""Stdin and stdout as the event loop's own pipes, and as the streams of messages that the SDK serves.

The SDK's transport hands each line that comes and each answer that goes to a worker thread, three times for a call, and
then to a task of its own: half of what an empty call costs. Hosts start a server with pipes or sockets, and those the
loop can wait for by itself.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from typing import IO

import anyio
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter

LONGEST_LINE = 2**24
"""Bytes of one message. A longer one is dropped as one that is no JSON, instead of filling the memory."""


class Requests(ObjectReceiveStream[SessionMessage | Exception]):
    """What comes, one message a line; what is none comes as the error that says so."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def receive(self) -> SessionMessage | Exception:
        try:
            line = await self._reader.readline()
        except ValueError as error:  # longer than LONGEST_LINE
            return error
        if not line:
            raise anyio.EndOfStream
        try:
            return SessionMessage(jsonrpc_message_adapter.validate_json(line.decode("utf-8", "replace"), by_name=False))
        except Exception as error:  # whatever it is, the conversation goes on
            return error

    async def aclose(self) -> None:
        """Nothing more is read."""
        self._reader.feed_eof()


class Answers(ObjectSendStream[SessionMessage]):
    """What goes, one message a line."""

    def __init__(self, writer: asyncio.StreamWriter, requests: Requests) -> None:
        self._writer = writer
        self._requests = requests

    async def send(self, item: SessionMessage) -> None:
        """Return when the client has taken everything; one that has gone ends the conversation in order."""
        self._writer.write(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
        try:
            await self._writer.drain()
        except ConnectionError as error:
            await self._requests.aclose()
            raise anyio.ClosedResourceError from error

    async def aclose(self) -> None:
        """The pipe stays open until the process ends: what was written must arrive."""


async def standard_pipes() -> tuple[Requests, Answers] | None:
    """Take stdin and stdout for the protocol alone; None where the loop cannot wait for them (a file, a terminal).

    From then on whatever else prints goes to stderr, and whatever else reads finds the end.
    """
    if sys.platform == "win32" or not (_can_be_awaited(0) and _can_be_awaited(1)):
        return None
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), _taken(0, "rb", _nothing()))
    protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())  # of which only the flow control is used
    transport, _ = await loop.connect_write_pipe(lambda: protocol, _taken(1, "wb", os.dup(2)))
    transport.set_write_buffer_limits(high=0)  # a drain leaves nothing behind
    requests = Requests(reader)
    return requests, Answers(asyncio.StreamWriter(transport, protocol, None, loop), requests)


def _can_be_awaited(descriptor: int) -> bool:
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:  # closed by whoever started us
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _taken(descriptor: int, mode: str, instead: int) -> IO[bytes]:
    """The wire behind `descriptor`, which itself stands for `instead` from now on."""
    wire = os.fdopen(os.dup(descriptor), mode, buffering=0)
    os.dup2(instead, descriptor)
    os.close(instead)
    return wire


def _nothing() -> int:
    return os.open(os.devnull, os.O_RDONLY)
