"""MCP over Streamable HTTP, for clients on this machine that know a token; the token says which agent calls."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ibkr_mcp_server.agents import Agent, TokenHolders, token_hash
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.state_dir import StateDirectory
from ibkr_mcp_server.tools.server import AGENT_OF_REQUEST, TradingServer
from ibkr_mcp_server.tools.signals import stop_at_signal

PATH = "/mcp"
LARGEST_BODY = 256 * 1024
"""Bytes; the largest call of ours is a list of symbols."""
MOST_SESSIONS = 50
IDLE_SESSION_SECONDS = 900.0
SHUTDOWN_SECONDS = 2
"""How long calls in flight may take once the process is told to end; an open event stream would never end by itself."""


class BearerToken:
    """Lets only requests with a right token through, with the agent it proves; looks at nothing else of the others."""

    def __init__(self, app: ASGIApp, holders: TokenHolders) -> None:
        self._app = app
        self._holders = holders

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        agent = self._proven(scope)
        if agent is not None:
            await self._app({**scope, AGENT_OF_REQUEST: agent}, receive, send)
            return
        refused = JSONResponse(
            {"error": "A bearer token is needed: Authorization: Bearer TOKEN."},
            status_code=401,
            headers={"WWW-Authenticate": "Bearer"},
        )
        await refused(scope, receive, send)

    def _proven(self, scope: Scope) -> str | None:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return None
        scheme, _, token = given[0].partition(b" ")
        return self._holders.holder(token.strip()) if scheme.lower() == b"bearer" else None


def http_app(server: TradingServer, *, host: str, port: int, holders: TokenHolders) -> Starlette:
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
    app.add_middleware(BearerToken, holders=holders)
    return app


def serve(server: TradingServer, settings: Settings, state: StateDirectory, agents: Sequence[Agent]) -> None:
    """Serve until the process is told to end; says on stderr where, and where the token lies.

    That token is of the agent in the settings; `agents` may have their own.

    Raises:
        OSError: the address cannot be listened on, or the token cannot be kept.
    """
    token = settings.http_token.get_secret_value() if settings.http_token is not None else kept_token(state.http_token)
    where = "IBKR_HTTP_TOKEN" if settings.http_token is not None else str(state.http_token)

    def tell(url: str) -> None:
        print(f"Serving MCP at {url}; the bearer token is in {where}.", file=sys.stderr, flush=True)  # noqa: T201

    hashes = {agent.name: agent.token_sha256 for agent in agents if agent.token_sha256 is not None}
    holders = TokenHolders([(settings.agent, token_hash(token)), *hashes.items()])
    asyncio.run(listen(server, host=settings.http_host, port=settings.http_port, holders=holders, ready=tell))


def kept_token(path: Path) -> str:
    """The token of this state directory; made at the first start, readable by its owner only."""
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    return path.read_text(encoding="ascii").strip()


async def listen(
    server: TradingServer,
    *,
    host: str,
    port: int,
    holders: TokenHolders,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until the process is told to end, then let calls in flight finish and close the app.

    `ready` is told the URL once connections are accepted; with port 0 that is where the port is learned.
    """
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    with listener:
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            http_app(server, host=host, port=port, holders=holders),
            log_config=None,  # ours goes to stderr; uvicorn's own would write to stdout
            access_log=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            server_header=False,
        )
        stop_at_signal(server)
        ready(f"http://{_in_url(host)}:{port}{PATH}")
        await uvicorn.Server(config).serve(sockets=[listener])


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
