"""The outer layer of the control API: the size of a body, who may ask without a signature, and whose signature holds.

It stands before FastAPI, so that nothing is parsed of a request that is not signed. Every refusal for want of a valid
signature is the same 401 without a reason.
"""

from __future__ import annotations

from collections import deque
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.control.door import Caller, Door
from ibkr_mcp_server.control.keys import Role
from ibkr_mcp_server.control.paths import FROM_THIS_MACHINE, RESET, ROLES
from ibkr_mcp_server.settings.rules import is_loopback

LARGEST_BODY = 64 * 1024
MOST_READS_PER_SECOND = 200
"""Of everything but stops, which no limit refuses."""


class Guard:
    """Middleware; hands the caller on as `scope["caller"]`."""

    def __init__(self, app: ASGIApp, door: Door, clock: Clock, *, reset_enabled: bool) -> None:
        self._app = app
        self._door = door
        self._clock = clock
        self._reset_enabled = reset_enabled
        self._reads: deque[float] = deque(maxlen=MOST_READS_PER_SECOND)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        role = ROLES.get((scope["method"], path))
        if role is not Role.TRIGGER and self._too_many_reads():
            await _refusal(429, "Too many requests; stops are still taken.", {"Retry-After": "1"})(scope, receive, send)
            return
        if role is None:
            if path in FROM_THIS_MACHINE and not _from_this_machine(scope):
                await _refusal(404, "Not found.")(scope, receive, send)
                return
            await self._app(scope, receive, send)
            return
        if path == RESET and not self._reset_enabled:
            await _refusal(404, "Not found.")(scope, receive, send)
            return
        body = await _body(scope, receive)
        if body is None:
            await _refusal(413, f"The body is larger than {LARGEST_BODY} bytes.")(scope, receive, send)
            return
        caller = await self._door.judge(role, scope["method"], _target(scope), scope["headers"], body)
        if caller is None:
            await _refusal(401, "Unauthorized.")(scope, receive, send)
            return
        await self._app({**scope, "caller": caller}, _replayed(body), send)

    def _too_many_reads(self) -> bool:
        now = self._clock.monotonic()
        if len(self._reads) == MOST_READS_PER_SECOND and now - self._reads[0] < 1:
            return True
        self._reads.append(now)
        return False


def caller_of(scope: Scope) -> Caller:
    """Whom the guard let in."""
    caller = scope["caller"]
    assert isinstance(caller, Caller)
    return caller


def _target(scope: Scope) -> str:
    """Path and query as they came, for that is what was signed."""
    raw = scope.get("raw_path") or scope["path"].encode()
    query = scope.get("query_string", b"")
    return str((raw + b"?" + query if query else raw).decode("latin-1"))


async def _body(scope: Scope, receive: Receive) -> bytes | None:
    """The whole body; None when it is too large, of which no more than that is read."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LARGEST_BODY:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


def _replayed(body: bytes) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive


def _from_this_machine(scope: Scope) -> bool:
    """By its address, and by the name it asked for: a web page could make a browser of this machine ask by another."""
    client = scope.get("client")
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    if client is None or not is_loopback(client[0]) or len(hosts) != 1:
        return False
    try:
        return is_loopback(urlsplit(f"//{hosts[0]}").hostname or "")
    except ValueError:
        return False


def _refusal(status: int, error: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": error}, status_code=status, headers=headers)
