"""A port of its own on which a running gateway takes faults, one line each; off unless asked for.

`NAME[:ARGS]` and a newline, as `Faults.apply` reads it; the answer is `ok`, or `error` and what was wrong. Whoever
reaches the port commands the gateway, so it listens on loopback only.
"""

from __future__ import annotations

import asyncio

from ibkr_mcp_server.simulator.faults import Faults

LOOPBACK = "127.0.0.1"
LONGEST_LINE = 4_096


class ControlPort:
    """Use as `async with ControlPort(faults, port=0) as control`; afterwards `port` is the real one."""

    def __init__(self, faults: Faults, *, port: int = 0) -> None:
        self.port = port
        self._faults = faults
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> ControlPort:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port, limit=LONGEST_LINE)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                writer.write(f"{self._answer(line)}\n".encode("ascii", "backslashreplace"))
                await writer.drain()
        except (ConnectionError, ValueError):  # a line above the limit is a ValueError: no script writes that
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, line: bytes) -> str:
        try:
            self._faults.apply(line.decode("utf-8").strip())
        except ValueError as error:
            return f"error {' '.join(str(error).split())}"
        return "ok"
