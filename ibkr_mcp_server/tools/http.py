"""MCP over Streamable HTTP, for clients on this machine that know the token."""

from __future__ import annotations

import hmac
import socket
from collections.abc import Callable

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ibkr_mcp_server.tools.server import TradingServer

PATH = "/mcp"
LARGEST_BODY = 256 * 1024
"""Bytes; the largest call of ours is a list of symbols."""
MOST_SESSIONS = 50
IDLE_SESSION_SECONDS = 900.0
SHUTDOWN_SECONDS = 10
"""How long calls in flight may take once the process is told to end; an open event stream would never end by itself."""


class BearerToken:
    """Lets only requests with the right token through; looks at nothing else of the others."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        if len(token) < 16:
            raise ValueError("an HTTP token needs at least 16 characters")
        self._app = app
        self._expected = f"bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._is_proven(scope):
            await self._app(scope, receive, send)
            return
        refused = JSONResponse(
            {"error": "A bearer token is needed: Authorization: Bearer TOKEN."},
            status_code=401,
            headers={"WWW-Authenticate": "Bearer"},
        )
        await refused(scope, receive, send)

    def _is_proven(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, token = given[0].partition(b" ")
        return hmac.compare_digest(scheme.lower() + b" " + token.strip(), self._expected)


def http_app(server: TradingServer, *, host: str, port: int, token: str) -> Starlette:
    """The ASGI application. Requests must name this machine as their host, so that no web page can reach it by a name
    of its own."""
    names = {f"{_in_url(name)}:{port}" for name in (host, "127.0.0.1", "localhost", "::1")}
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=LARGEST_BODY,
        max_sessions=MOST_SESSIONS,
        session_idle_timeout=IDLE_SESSION_SECONDS,
        transport_security=TransportSecuritySettings(
            allowed_hosts=sorted(names), allowed_origins=sorted(f"http://{name}" for name in names)
        ),
    )
    app.add_middleware(BearerToken, token=token)
    return app


async def serve(
    server: TradingServer, *, host: str, port: int, token: str, ready: Callable[[str], None] = lambda url: None
) -> None:
    """Serve until the process is told to end, then let calls in flight finish and close the app.

    `ready` is told the URL once connections are accepted; with port 0 that is where the port is learned.

    Raises:
        OSError: the address cannot be listened on.
    """
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    with listener:
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            http_app(server, host=host, port=port, token=token),
            log_config=None,  # ours goes to stderr; uvicorn's own would write to stdout
            access_log=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            server_header=False,
        )
        ready(f"http://{_in_url(host)}:{port}{PATH}")
        await uvicorn.Server(config).serve(sockets=[listener])


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
