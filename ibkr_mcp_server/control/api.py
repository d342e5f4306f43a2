"""The control API: stop, see, and ask for a reset (requirements 3.3). FastAPI describes it at /openapi.json.

The guard has let in only whom it may before anything here runs. A stop takes any body, as stopping needs nothing but
the right to (KS-18); everything else is typed.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy import Connection
from starlette.exceptions import HTTPException as StarletteHTTPException

from ibkr_mcp_server import __version__
from ibkr_mcp_server.control import paths
from ibkr_mcp_server.control.door import Caller, Door
from ibkr_mcp_server.control.guard import Guard, caller_of
from ibkr_mcp_server.control.keys import Key
from ibkr_mcp_server.control.metrics import metrics_text
from ibkr_mcp_server.control.parts import Parts
from ibkr_mcp_server.control.readiness import obstacles
from ibkr_mcp_server.control.status import full_status
from ibkr_mcp_server.control.views import (
    KillSwitchView,
    Pending,
    Ready,
    ResetBody,
    StopView,
    TriggerBody,
    kill_switch_view,
)
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.operations.reset import ask_for_reset
from ibkr_mcp_server.store import latches
from ibkr_mcp_server.store.approvals import Approval
from ibkr_mcp_server.store.latches import KillMode

LONGEST_TEXT = 500
_UNAUTHORIZED: dict[int | str, dict[str, Any]] = {
    401: {"description": "No valid signature; nothing more is said."},
    413: {"description": "Too large."},
    429: {"description": "Too many requests at once; stops are never refused for that."},
}


def control_app(parts: Parts, keys: tuple[Key, ...]) -> FastAPI:
    """The application, guard included."""
    app = FastAPI(
        title="ibkr-mcp-server control API",
        version=__version__,
        description="Stops trading and tells its state. docs/control-api.md tells how requests are signed.",
        openapi_url=paths.DESCRIPTION,
        docs_url=None,  # the pages that FastAPI offers load scripts from elsewhere
        redoc_url=None,
    )
    app.add_exception_handler(ProductError, _unavailable)
    app.add_exception_handler(OSError, _unavailable)
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)

    door = Door(parts, keys)
    body = {"anyOf": [TriggerBody.model_json_schema(), {"description": "Whatever else comes stops as well."}]}
    for path, name in ((paths.TRIGGER, "trigger"), (paths.TRIGGER_ALIAS, "trigger_alias")):
        app.add_api_route(
            path,
            _stop(parts),
            methods=["POST"],
            operation_id=name,
            summary="Stop all opening orders; only a person can resume",
            response_model=StopView,
            responses=_UNAUTHORIZED | {503: {"description": "The stop did not hold; stop by another way."}},
            openapi_extra={"requestBody": {"content": {"application/json": {"schema": body}}}},
        )

    @app.get(paths.KILL_STATUS, operation_id="kill_switch_status", responses=_UNAUTHORIZED)
    async def kill_switch_status() -> KillSwitchView:
        """The kill switch."""
        return kill_switch_view(await parts.database.read(parts.kill_switch.status))

    @app.get(paths.STATUS, operation_id="safety_status", responses=_UNAUTHORIZED)
    async def safety_status() -> dict[str, Any]:
        """Everything that decides whether an order may pass."""
        return await full_status(parts)

    if parts.settings.http_reset_enabled:
        _offer_reset(app, parts)
    if parts.settings.enable_health_checks:
        _offer_health(app, parts)
    if parts.settings.enable_performance_monitoring:

        @app.get(paths.METRICS, operation_id="metrics", response_class=PlainTextResponse)
        async def metrics() -> PlainTextResponse:
            """Figures for Prometheus."""
            return PlainTextResponse(await metrics_text(parts, door), media_type=CONTENT_TYPE_LATEST)

    app.add_middleware(Guard, door=door, clock=parts.clock, reset_enabled=parts.settings.http_reset_enabled)
    return app


def _offer_health(app: FastAPI, parts: Parts) -> None:
    @app.get(paths.HEALTH, operation_id="health")
    async def health() -> dict[str, str]:
        """Whether the process lives."""
        return {"status": "alive"}

    @app.get(paths.READY, operation_id="ready", response_model=Ready, responses={503: {"model": Ready}})
    async def ready() -> JSONResponse:
        """Whether opening orders may be accepted, and if not, why."""
        reasons = await obstacles(parts)
        answer = Ready(ready=not reasons, reasons=reasons)
        return JSONResponse(answer.model_dump(), status_code=200 if answer.ready else 503)


def _offer_reset(app: FastAPI, parts: Parts) -> None:
    @app.post(
        paths.RESET,
        operation_id="reset",
        status_code=202,
        responses={
            **_UNAUTHORIZED,
            400: {"description": "The body cannot be read."},
            409: {"description": "The kill switch is off."},
        },
    )
    async def reset(request: Request, body: ResetBody) -> Pending:
        """Asks people for a reset; by itself it changes nothing (KS-20)."""
        caller = caller_of(request.scope)
        reason = _cleaned(body.reason) + (f" (claimed by {_cleaned(body.reset_by)})" if body.reset_by else "")

        def ask(connection: Connection) -> Approval | None:
            latch = latches.current(connection)
            if not latch.active:
                return None
            return ask_for_reset(
                connection, parts.queue, latch, caller.actor, reason, settings=parts.settings, clock=parts.clock
            )

        asked = await parts.database.run(ask)
        if asked is None:
            raise HTTPException(409, "The kill switch is off; there is nothing to reset.")
        return Pending(
            approval_id=asked.approval_id,
            state=asked.standing,
            approvals_needed=asked.needed,
            approved_by=[vote.principal for vote in asked.votes],
            expires_at=asked.expires_at,
            next_step=f"A person runs: ibkr-mcp-server approve {asked.approval_id}",
        )


def _stop(parts: Parts) -> Any:  # Any: FastAPI reads the signature of what is returned
    async def stop(request: Request) -> StopView | JSONResponse:
        """Latches the kill switch. On an active switch it can only escalate, and an identical request does nothing."""
        caller = caller_of(request.scope)
        if caller.replayed:
            status = await parts.database.read(parts.kill_switch.status)
            return StopView(**kill_switch_view(status).model_dump(), first=False, durable=True, replayed=True)
        return await _activated(parts, caller, await request.body())

    return stop


async def _activated(parts: Parts, caller: Caller, body: bytes) -> StopView | JSONResponse:
    asked, warnings = _understood(body)
    mode = asked.get("mode", KillMode.HALT_ONLY)
    if mode is KillMode.CLOSE_POSITIONS:
        # KS-17: closing positions takes two people; stopping none waits for.
        mode = KillMode.HALT_ONLY
        warnings.append("Opening orders are stopped. Closing positions takes a person at the command line.")
    activation = await parts.kill_switch.activate(
        mode, asked.get("reason", ""), caller.actor, claimed_by=asked.get("triggered_by")
    )
    if not activation.durable and parts.desk is None and not parts.kill_switch.sentinel_present():
        return JSONResponse(
            {"error": f"TRADING IS NOT STOPPED: {activation.problem} Stop by another way."}, status_code=503
        )
    try:
        view = kill_switch_view(await parts.database.read(parts.kill_switch.status))
    except (ProductError, OSError):
        view = KillSwitchView(active=True)
    if activation.problem:
        warnings.append(activation.problem)
    return StopView(
        **view.model_dump(),
        first=activation.first,
        durable=activation.durable,
        nothing_in_flight=activation.nothing_in_flight,
        warnings=warnings,
    )


def _understood(body: bytes) -> tuple[dict[str, Any], list[str]]:  # Any: text, or a KillMode
    """What of the body can be used, and what could not; never an error."""
    if not body.strip():
        return {}, []
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        return {}, ["The body is not a JSON object; the stop holds without it."]
    found: dict[str, Any] = {}
    warnings = []
    for name in ("reason", "triggered_by"):
        if isinstance(given.get(name), str):
            found[name] = _cleaned(given[name])
        elif given.get(name) is not None:
            warnings.append(f"{name} is not text and was left out.")
    if given.get("mode") is not None:
        try:
            found["mode"] = KillMode(given["mode"])
        except (ValueError, TypeError):
            warnings.append(f"mode is none of {', '.join(map(str, KillMode))}; HALT_ONLY was used.")
    return found, warnings


def _cleaned(text: str) -> str:
    """One printable line: what a caller says is shown to people and never interpreted."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:LONGEST_TEXT].strip()


async def _refused(request: Request, error: Exception) -> JSONResponse:
    """One shape for all errors."""
    assert isinstance(error, StarletteHTTPException)
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    details = [f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors()]
    return JSONResponse({"error": "The request is not of the described form.", "details": details}, 422)


async def _unavailable(request: Request, error: Exception) -> JSONResponse:
    """The store does not answer; its words stay in the log."""
    code = error.code if isinstance(error, ProductError) else "STORE_UNAVAILABLE"
    return JSONResponse({"error": f"The safety state cannot be read ({code}), which counts as stopped."}, 503)
