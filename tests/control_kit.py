"""The control API without sockets, and requests signed as a caller signs them."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx2

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.log import AuditLog, AuditRecord, tail
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.control import paths
from ibkr_mcp_server.control.api import control_app
from ibkr_mcp_server.control.keys import keys_of
from ibkr_mcp_server.control.parts import Parts
from ibkr_mcp_server.safety.kill_switch import KillSwitch
from ibkr_mcp_server.safety.send_gate import SendGate
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.state_dir import open_state_directory
from ibkr_mcp_server.store.database import Database
from tests.private_state import with_tables

TRIGGER_SECRET = "5b1f0a" * 9 + "c94e7d2836"
STATUS_SECRET = "whsec_" + base64.b64encode(bytes(range(40, 72))).decode()
RESET_SECRET = "Zm9yLXRlc3RzLW9ubHktYW5kLW5vdC1mb3ItYW55dGhpbmc3"
KEYS: dict[str, Any] = {
    "kill_switch_secret": TRIGGER_SECRET,
    "control_status_secret": STATUS_SECRET,
    "control_reset_secret": RESET_SECRET,
}
_ids = count(1)


def signed(
    secret: str,
    method: str,
    target: str,
    body: bytes,
    *,
    timestamp: float,
    id: str | None = None,
    webhook: bool = False,
) -> dict[str, str]:
    """Headers of a request; written apart from the product's own signing, so that both can be wrong alone."""
    id = id or f"request-{next(_ids):08}"
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    message = f"{id}.{int(timestamp)}.{method} {target}\n".encode() + body
    digest = hmac.new(key, message, "sha256")
    if webhook:
        signature = "v1," + base64.b64encode(digest.digest()).decode()
        return {"webhook-id": id, "webhook-timestamp": str(int(timestamp)), "webhook-signature": signature}
    return {"x-hmac-id": id, "x-hmac-timestamp": str(int(timestamp)), "x-hmac-signature": digest.hexdigest()}


@dataclass(kw_only=True)
class Caller:
    """Talks to a control API; the secret goes with the path unless another is named."""

    http: httpx2.AsyncClient
    clock: ManualClock
    answers: list[str] = field(default_factory=list)

    async def ask(
        self,
        method: str,
        target: str,
        body: object = None,
        *,
        secret: str | None = None,
        headers: dict[str, str] | None = None,
        **signing: Any,
    ) -> httpx2.Response:
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if headers is None:
            headers = signed(
                secret or _secret_for(target),
                method,
                target,
                raw,
                **{"timestamp": self.clock.now().timestamp(), **signing},
            )
        if raw:
            headers = {"content-type": "application/json", **headers}
        answer = await self.http.request(method, target, content=raw, headers=headers)
        self.answers.append(answer.text)
        return answer

    async def trigger(self, **body: Any) -> httpx2.Response:
        return await self.ask("POST", paths.TRIGGER, body)


def _secret_for(target: str) -> str:
    if target in (paths.TRIGGER, paths.TRIGGER_ALIAS):
        return TRIGGER_SECRET
    return RESET_SECRET if target == paths.RESET else STATUS_SECRET


@asynccontextmanager
async def calling(parts: Parts, clock: ManualClock, *, client: str = "127.0.0.1") -> AsyncIterator[Caller]:
    """A caller of the API on `parts`, from the address `client`."""
    app = control_app(parts, keys_of(parts.settings))
    transport = httpx2.ASGITransport(app=app, client=(client, 50_000))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8766") as http:
        yield Caller(http=http, clock=clock)


@dataclass(kw_only=True)
class Alone:
    """The control API on a store of its own, without a server."""

    caller: Caller
    parts: Parts
    clock: ManualClock
    state: Path

    def records(self, event_type: EventType) -> list[AuditRecord]:
        return self.parts.database.read_blocking(lambda connection: tail(connection, 1_000, event_type))


@asynccontextmanager
async def alone(tmp_path: Path, **settings: Any) -> AsyncIterator[Alone]:
    clock = ManualClock()
    state = with_tables(open_state_directory(tmp_path / "state", allow_temporary=True))
    configured: Settings = load_settings(environ={}, **{**KEYS, **settings})
    database = Database.open(configured.store_location(state))
    try:
        audit = AuditLog(
            database,
            session_id="00000000-0000-4000-8000-000000000001",
            config_hash=configured.fingerprint,
            clock=clock,
        )
        switch = KillSwitch(
            database=database, audit=audit, clock=clock, gate=SendGate(state.send_lock), sentinel=state.sentinel
        )
        parts = Parts(settings=configured, database=database, audit=audit, kill_switch=switch, clock=clock)
        async with calling(parts, clock) as caller:
            yield Alone(caller=caller, parts=parts, clock=clock, state=state.path)
    finally:
        database.close()
