"""The paths of the control API and the role that each asks for (requirements 3.3)."""

from __future__ import annotations

from ibkr_mcp_server.control.keys import Role

TRIGGER = "/api/v1/safety/kill-switch/trigger"
TRIGGER_ALIAS = "/api/kill-switch"
KILL_STATUS = "/api/v1/safety/kill-switch/status"
RESET = "/api/v1/safety/kill-switch/reset"
STATUS = "/api/v1/safety/status"
HEALTH = "/healthz"
READY = "/readyz"
METRICS = "/metrics"
DESCRIPTION = "/openapi.json"

ROLES: dict[tuple[str, str], Role] = {
    ("POST", TRIGGER): Role.TRIGGER,
    ("POST", TRIGGER_ALIAS): Role.TRIGGER,
    ("GET", KILL_STATUS): Role.STATUS,
    ("POST", RESET): Role.RESET,
    ("GET", STATUS): Role.STATUS,
}
"""Method and path → the role whose keys open it."""

FROM_THIS_MACHINE = frozenset({HEALTH, READY, METRICS, DESCRIPTION})
"""Paths without a signature; only programs of this machine are answered."""
