"""Reckons value at risk and expected shortfall now and then, beside the orders and never in their way (PL-17)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal

from ibkr_mcp_server.domain.accounts import Position
from ibkr_mcp_server.domain.history import BarRequest
from ibkr_mcp_server.domain.money import CENT
from ibkr_mcp_server.domain.portfolio_risk import RiskFigures, daily_results, tail_of
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.safety.unit_values import usd_rates

LOOK_SECONDS = 10.0
"""How often it is looked whether the holdings changed."""
HISTORY = "1 Y"

_log = get_logger(__name__)


class PortfolioRisk:
    """The job of one process; what it found lies at the desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._every_seconds = float(desk.settings.value_at_risk_seconds)
        self._closes: dict[int, tuple[date, Mapping[date, Decimal]]] = {}
        """By contract: the day on which they were read, and the closing prices."""
        self._reckoned: tuple[float, Mapping[int, Decimal]] | None = None
        """When, and of which holdings."""

    async def run(self) -> None:
        """Reckon until cancelled; with an interval of 0 there is nothing to do."""
        while self._every_seconds:
            await self._desk.clock.sleep(LOOK_SECONDS)
            try:
                if self._desk.broker.link.is_up and self._is_due():
                    await self.reckon()
            except (ProductError, OSError):
                _log.exception("value at risk could not be reckoned")

    async def reckon(self) -> RiskFigures:
        """Read what histories are missing, and put the figures on the desk."""
        desk, held = self._desk, self._held()
        self._reckoned = desk.clock.monotonic(), {one.instrument.con_id: one.quantity for one in held}
        rates = usd_rates(desk.broker.known_balances(self._account))
        values: dict[int, Decimal] = {}
        closes: dict[int, Mapping[date, Decimal]] = {}
        left_out = []
        for one in held:
            rate, known = rates.get(one.instrument.currency), await self._closes_of(one)
            if one.market_value is None or rate is None or len(known) < 2:
                left_out.append(one.instrument.label)
                continue
            values[one.instrument.con_id] = one.market_value * rate
            closes[one.instrument.con_id] = known
        results = daily_results(values, closes)
        at_risk, shortfall = tail_of(results)
        figures = RiskFigures(
            value_at_risk_usd=None if at_risk is None else at_risk.quantize(CENT),
            expected_shortfall_usd=None if shortfall is None else shortfall.quantize(CENT),
            sample_size=len(results),
            held_usd=sum((abs(value) for value in values.values()), Decimal(0)).quantize(CENT),
            left_out=tuple(left_out),
            as_of=desk.clock.now(),
        )
        desk.risk.figures = figures
        return figures

    @property
    def _account(self) -> str:
        return self._desk.default_account.on(self._desk.broker.link) or ""

    def _held(self) -> list[Position]:
        held = self._desk.broker.known_positions() or ()
        return [one for one in held if one.account == self._account and one.quantity]

    def _is_due(self) -> bool:
        if self._reckoned is None:
            return True
        at, quantities = self._reckoned
        if {one.instrument.con_id: one.quantity for one in self._held()} != quantities:
            return True
        return self._desk.clock.monotonic() - at >= self._every_seconds

    async def _closes_of(self, one: Position) -> Mapping[date, Decimal]:
        """Closing prices by day; read once a day, and empty where the broker has none."""
        instrument, today = one.instrument, self._desk.clock.now().date()
        read_on, known = self._closes.get(instrument.con_id, (None, {}))
        if read_on == today:
            return known
        request = BarRequest(
            instrument=instrument,
            bar_size="1 day",
            duration=HISTORY,
            what_to_show="MIDPOINT" if instrument.is_forex else "TRADES",
            regular_hours_only=True,
        )
        try:
            history = await self._desk.broker.bars(request)
        except ProductError as error:
            _log.info("no history for value at risk", instrument=instrument.label, error=str(error))
            found: dict[date, Decimal] = {}
        else:
            found = {_day(bar.start): bar.close for bar in history.bars if bar.close > 0}
        self._closes[instrument.con_id] = today, found
        return found


def _day(start: datetime | date) -> date:
    return start.date() if isinstance(start, datetime) else start
