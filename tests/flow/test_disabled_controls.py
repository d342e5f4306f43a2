"""Controls that an operator switched off: never in live mode, on paper only in so many words, and always to be seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.audit.events import OF_CALLS, EventType
from ibkr_mcp_server.audit.verify import verify
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.errors import ConfigurationError
from ibkr_mcp_server.settings.gates import DISABLED_CONTROLS_ACKNOWLEDGEMENT
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.harness import running

CONTROLS = ("enable_kill_switch", "enable_audit_logging", "require_paper_account_verification")


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_is_off_never_in_live_mode_and_on_paper_only_with_the_acknowledgement(name: str) -> None:
    """CFG-18, T-33."""
    ack: dict[str, Any] = {"disabled_controls_ack": DISABLED_CONTROLS_ACKNOWLEDGEMENT}
    off: dict[str, Any] = {name: False}
    load_settings(environ={}, broker_mode="simulator", **off)
    load_settings(environ={}, broker_mode="paper", **off, **ack)
    for mode, more in (("live", ack), ("live", {}), ("paper", {})):
        with pytest.raises(ConfigurationError, match=f"IBKR_{name.upper()}"):
            load_settings(environ={}, broker_mode=mode, **off, **more)
    with pytest.raises(ConfigurationError, match="IBKR_DISABLED_CONTROLS_ACK"):
        load_settings(environ={}, broker_mode="paper", disabled_controls_ack="yes")


async def test_what_is_off_shows_in_the_status_and_in_the_log(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """CFG-18, invariant 10: what is unclear, switches and people are recorded all the same."""
    off: dict[str, Any] = {"enable_kill_switch": False, "enable_audit_logging": False}
    ack: dict[str, Any] = {"disabled_controls_ack": DISABLED_CONTROLS_ACKNOWLEDGEMENT}
    async with running(tmp_path, gateway, clock, **off, **ack) as world:
        assert (await world.call("emergency_stop"))["kill_switch_active"]
        (tmp_path / "state" / "KILL").touch()
        assert (await world.buy())["success"]  # nothing is held back
        status = await world.call("get_safety_status")
        kinds = {record.event_type for record in await world.records()}
        assert (await world.app.desk.database.read(verify)).ok
        disabled = [record.outcome["setting"] for record in await world.records(EventType.CONTROL_DISABLED)]
    assert [told.partition(" (")[0] for told in status["overrides"]] == [
        "The kill switch holds nothing back",
        "Calls and orders are not recorded in the audit log",
    ]
    assert disabled == ["enable_kill_switch", "enable_audit_logging"]
    assert kinds & OF_CALLS == set()
    assert {EventType.KILL_SWITCH_ACTIVATE, EventType.CONFIG_LOADED, EventType.SERVER_START} <= kinds
