"""The arrows of the architecture: held by a script, which must notice what it is there to notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import check_architecture


def test_the_product_keeps_its_arrows() -> None:
    """TW-17."""
    files = sorted(check_architecture.ROOT.rglob("*.py"))
    assert len(files) > 80
    assert [found for file in files for found in check_architecture.problems_of(file)] == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("tools/orders.py", "import ib_async"),
        ("operations/orders.py", "from ib_async import IB"),
        ("app.py", "import ib_insync.ib"),
        ("tools/orders.py", "from ibkr_mcp_server.broker.ib import IBBroker"),
        ("operations/orders.py", "from ibkr_mcp_server.broker import session"),
        ("safety/manager.py", "from ibkr_mcp_server.operations.orders import send_order"),
        ("broker/ib.py", "from ibkr_mcp_server.simulator.server import PaperGateway"),
        ("simulator/server.py", "from ibkr_mcp_server.broker.translate import contract_for"),
        ("domain/orders.py", "from ibkr_mcp_server.store.database import Database"),
        ("tools/orders.py", "approval = ApprovedOrder(order=order)"),
        ("broker/ib.py", "approval = operations.ApprovedCancellation(target=target)"),
        ("safety/settlement.py", "from ibkr_mcp_server.safety.approvals import approval_of"),
        ("newroom/thing.py", "import json"),
    ],
)
def test_an_arrow_that_points_back_is_noticed(
    path: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TW-17: nobody else opens a connection, and nobody else approves."""
    monkeypatch.setattr(check_architecture, "ROOT", tmp_path)
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{line}\n", encoding="utf-8")
    assert len(check_architecture.problems_of(file)) == 1
