"""Let schemathesis look for what the control API answers that its description does not say.

Every request is signed on its way, so that the tool gets past the guard; it runs on a store that is thrown away. Prints
schemathesis's own report and exits with its code.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import SystemClock
from ibkr_mcp_server.control.api import control_app
from ibkr_mcp_server.control.keys import Role, keys_of
from ibkr_mcp_server.control.parts import Parts
from ibkr_mcp_server.control.paths import ROLES
from ibkr_mcp_server.safety.kill_switch import KillSwitch
from ibkr_mcp_server.safety.send_gate import SendGate
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.state_dir import open_state_directory
from ibkr_mcp_server.store.database import Database

SECRETS = {role: base64.b64encode(bytes(range(start, start + 32))).decode() for start, role in enumerate(Role, 60)}


NOT_READY = """[[operations]]
include-path = "/readyz"
checks.not_a_server_error.enabled = false
"""
"""503 is how a probe is told that no orders are taken here."""


class Signing:
    """Signs whatever comes, as a caller with all keys would."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        role = ROLES.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if role is None:
            await self._app(scope, receive, send)
            return
        messages: list[Message] = []
        while not messages or messages[-1].get("more_body"):
            messages.append(await receive())
        body = b"".join(message.get("body", b"") for message in messages)
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        id, at = uuid.uuid4().hex, str(int(SystemClock().now().timestamp()))
        content = f"{id}.{at}.{scope['method']} ".encode() + scope["raw_path"] + query + b"\n" + body
        signature = hmac.new(SECRETS[role].encode(), content, "sha256").hexdigest()
        own = {b"x-hmac-id": id, b"x-hmac-timestamp": at, b"x-hmac-signature": signature}
        headers = [(name, value) for name, value in scope["headers"] if name not in own]
        headers += [(name, value.encode()) for name, value in own.items()]

        async def replayed() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app({**scope, "headers": headers}, replayed, send)


def main() -> int:
    """Serve, let schemathesis ask, and return its exit code."""
    with TemporaryDirectory() as directory:
        state = open_state_directory(Path(directory) / "state", allow_temporary=True)
        settings = load_settings(
            environ={},
            kill_switch_secret=SECRETS[Role.TRIGGER],
            control_status_secret=SECRETS[Role.STATUS],
            control_reset_secret=SECRETS[Role.RESET],
            http_reset_enabled=True,
        )
        clock, database = SystemClock(), Database.open(settings.store_location(state))
        audit = AuditLog(database, session_id=str(uuid.uuid4()), config_hash=settings.fingerprint, clock=clock)
        switch = KillSwitch(
            database=database, audit=audit, clock=clock, gate=SendGate(state.send_lock), sentinel=state.sentinel
        )
        parts = Parts(settings=settings, database=database, audit=audit, kill_switch=switch, clock=clock)
        app = Signing(control_app(parts, keys_of(settings)))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", access_log=False))
        running = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
        running.start()
        while not server.started:
            running.join(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json", *sys.argv[1:]]
        (Path(directory) / "schemathesis.toml").write_text(NOT_READY)
        code = subprocess.run(command, check=False, cwd=directory).returncode
        server.should_exit = True
        running.join(10)
        database.close()
        return code


if __name__ == "__main__":
    sys.exit(main())
