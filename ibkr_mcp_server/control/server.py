"""Runs the control API: beside the MCP server in its process, or alone on the same store.

One job keeps it up; when it cannot be served, trading goes on and the other ways to stop remain (SIG-05).
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from fastapi import FastAPI

from ibkr_mcp_server.app import App
from ibkr_mcp_server.control.api import control_app
from ibkr_mcp_server.control.key_watch import NO_PORT, tell, watch_keys, why_off
from ibkr_mcp_server.control.keys import keys_of
from ibkr_mcp_server.control.parts import Parts
from ibkr_mcp_server.errors import ConfigurationError
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.settings.model import Settings

SHUTDOWN_SECONDS = 2

_log = get_logger(__name__)


@asynccontextmanager
async def beside(app: App) -> AsyncIterator[None]:
    """Serve the API while the body runs, on the parts of `app`; says on stderr where, or why not."""
    desk = app.desk
    parts = Parts(
        settings=desk.settings,
        database=desk.database,
        audit=desk.audit,
        kill_switch=desk.safety.kill_switch,
        clock=desk.clock,
        desk=desk,
    )
    try:
        keys = keys_of(desk.settings)
        listener = listening(desk.settings)
    except (ConfigurationError, OSError) as error:
        _tell(f"The control API is off: {error}")
        _log.warning("the control API is off", reason=str(error))
        await tell(desk, why_off(desk.settings) if isinstance(error, ConfigurationError) else NO_PORT)
        yield
        return
    with listener:
        server = _InProcess(_config(control_app(parts, keys), desk.settings))
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="control-api")
        watching = asyncio.create_task(watch_keys(desk, keys), name="control-keys")
        _tell(f"Control API at {url_of(desk.settings, listener)}")
        try:
            yield
        finally:
            watching.cancel()
            server.should_exit = True
            await asyncio.wait([serving, watching])


async def alone(parts: Parts, *, ready: Callable[[str], None] = lambda url: None) -> None:
    """Serve until the process is told to end.

    Raises:
        ConfigurationError: the keys cannot be used.
        OSError: the address cannot be listened on.
    """
    keys = keys_of(parts.settings)
    with listening(parts.settings) as listener:
        ready(url_of(parts.settings, listener))
        await uvicorn.Server(_config(control_app(parts, keys), parts.settings)).serve(sockets=[listener])


def listening(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.control_host else socket.AF_INET
    return socket.create_server((settings.control_host, settings.control_port), family=family, backlog=512)


def url_of(settings: Settings, listener: socket.socket) -> str:
    host = f"[{settings.control_host}]" if ":" in settings.control_host else settings.control_host
    scheme = "http" if settings.control_tls_certificate is None else "https"
    return f"{scheme}://{host}:{listener.getsockname()[1]}"


def _config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,  # ours goes to stderr
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who asks is who connects
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        ssl_certfile=settings.control_tls_certificate,
        ssl_keyfile=settings.control_tls_key,
    )


class _InProcess(uvicorn.Server):
    """Leaves the process's signals to the server that it runs beside."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
