"""An agent reads what was recorded of it."""

from __future__ import annotations

from pathlib import Path

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.harness import running


async def test_the_audit_log_is_read_by_pages_redacted_and_each_reading_is_recorded(tmp_path: Path) -> None:
    """AUD-11, LLM-10: newest first, without the insides of the machine."""
    clock = ManualClock()
    async with PaperGateway(clock=clock) as gateway, running(tmp_path, gateway, clock) as world:
        placed = await world.buy(client_request_id="read-me-later")
        everything = []
        page = await world.call("get_audit_log", max_records=7)
        while True:
            everything += page["records"]
            if "next_before_seq" not in page:
                break
            page = await world.call("get_audit_log", max_records=7, before_seq=page["next_before_seq"])
        recorded = await world.records()

        numbers = [record["seq"] for record in everything]
        assert numbers == list(range(numbers[0], 0, -1)), "no record is missing and none comes twice"
        decisions = await world.call("get_audit_log", event_type="DECISION", max_records=100)
        assert {record["event"] for record in decisions["records"]} == {"DECISION"}
        [mine] = [one for one in decisions["records"] if one["tool"] == "place_limit_order"]
        assert mine["decision_id"] == placed["decision_id"]
        assert '"approved":true' in mine["untrusted_text"]
        assert str(tmp_path) not in str(everything)
        assert "DU9000001" not in str(everything)
        readings = [one for one in recorded if one.tool == "get_audit_log"]
        assert {(one.event_type, one.operation_type) for one in readings} == {(EventType.DECISION, "account_read")}
        unknown = await world.call("get_audit_log", event_type="DECISIONS")
        assert (unknown["code"], "the nearest are DECISION, " in str(unknown["details"])) == (
            "INVALID_ARGUMENTS",
            True,
        ), unknown
        assert len(readings) == len(everything) // 7 + 1
