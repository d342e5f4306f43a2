"""Stdin and stdout as the event loop's own pipes.

The SDK hands each line that comes and each answer that goes to a worker thread, three times for a call: two fifths of
what an empty call costs. Hosts start a server with pipes or sockets, and those the loop can wait for by itself.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from typing import IO

import anyio

LONGEST_LINE = 2**24
"""Bytes of one message. A longer one is dropped as one that is no JSON, instead of filling the memory."""


class Lines:
    """What comes, as the SDK reads it: text, line by line."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> str:
        try:
            line = await self._reader.readline()
        except ValueError:  # longer than LONGEST_LINE
            return "\n"
        if not line:
            raise StopAsyncIteration
        return line.decode("utf-8", "replace")

    def end(self) -> None:
        """Nothing more is read."""
        self._reader.feed_eof()


class Answers:
    """What goes, as the SDK writes it."""

    def __init__(self, writer: asyncio.StreamWriter, lines: Lines) -> None:
        self._writer = writer
        self._lines = lines

    async def write(self, text: str) -> None:
        self._writer.write(text.encode())

    async def flush(self) -> None:
        """Wait until the client has taken everything; one that has gone ends the conversation in order."""
        try:
            await self._writer.drain()
        except ConnectionError as error:
            self._lines.end()
            raise anyio.ClosedResourceError from error


async def standard_pipes() -> tuple[Lines, Answers] | None:
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
    transport.set_write_buffer_limits(high=0)  # a flush leaves nothing behind
    lines = Lines(reader)
    return lines, Answers(asyncio.StreamWriter(transport, protocol, None, loop), lines)


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
