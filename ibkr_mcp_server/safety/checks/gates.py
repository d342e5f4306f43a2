"""The flags that a human must have set before orders may pass (CFG-01..CFG-05)."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.domain.operations import Operation, Problem
from ibkr_mcp_server.domain.orders import STOP_TYPES
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, refuses
from ibkr_mcp_server.safety.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class TradingGates:
    """Refuses orders whose flag is off, and live orders while any lock of live trading is closed."""

    trading: bool
    forex: bool
    international: bool
    stop_loss: bool
    closed_live_locks: tuple[str, ...]
    """Variables that keep live trading locked; empty on simulator and paper."""

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        found: list[Problem] = []
        if not self.trading:
            found.append(problem(Code.TRADING_DISABLED, "Trading is off (IBKR_ENABLE_TRADING=false)."))
        if self.closed_live_locks:
            locks = ", ".join(self.closed_live_locks)
            found.append(problem(Code.LIVE_TRADING_LOCKED, f"Live trading is locked by {locks}."))
        order = seen.order
        if order is not None:
            instrument = order.instrument
            if not self.forex and instrument.is_forex:
                text = f"{instrument.label} is foreign exchange, which is off (IBKR_ENABLE_FOREX_TRADING=false)."
                found.append(problem(Code.FOREX_DISABLED, text))
            if not self.international and instrument.is_international:
                text = (
                    f"{instrument.label} is not a US listing in USD; such orders are off "
                    "(IBKR_ENABLE_INTERNATIONAL_TRADING=false)."
                )
                found.append(problem(Code.INTERNATIONAL_DISABLED, text))
            places_stop = any(placed.order_type in STOP_TYPES for _, placed in seen.placed)
            if places_stop and seen.observed.current is None and not self.stop_loss:
                text = "Placing stop orders is off (IBKR_ENABLE_STOP_LOSS_ORDERS=false)."
                found.append(problem(Code.STOP_LOSS_DISABLED, text))
        return refuses(*found) if found else PASSED
