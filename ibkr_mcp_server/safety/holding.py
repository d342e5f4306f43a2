"""One instrument of the projected portfolio: what is held, what may be added, and the stops that limit the loss.

Values are US dollars. What cannot be valued is None, never zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from ibkr_mcp_server.domain.orders import Side
from ibkr_mcp_server.safety.exposure import ZERO


class Line(NamedTuple):
    """Units that may still trade, and what one is worth at its worst; None is unknown."""

    quantity: Decimal
    unit_usd: Decimal | None


class Outcome(NamedTuple):
    """One way in which orders and fills may turn out."""

    start: Decimal
    """The position that it begins with."""
    kept: Decimal
    """The value if the position grows as far as it may."""
    crossed: Decimal
    """The value if it turns round as far as it may."""


@dataclass(kw_only=True)
class Holding:
    """What is known of one instrument."""

    label: str
    position: Decimal = ZERO
    unit_usd: Decimal | None = None
    lines: dict[Side, dict[object, Line]] = field(default_factory=lambda: {Side.BUY: {}, Side.SELL: {}})
    stops: dict[Side, dict[object, Line]] = field(default_factory=lambda: {Side.BUY: {}, Side.SELL: {}})
    """By their side: units, and what one is worth where the stop is hit."""

    def add(self, side: Side, share: object, line: Line) -> None:
        """Orders with an equal `share` cannot all fill: the worst of them counts."""
        known = self.lines[side].get(share)
        if known is not None:
            units = known.unit_usd, line.unit_usd
            dearest = None if None in units else max(unit for unit in units if unit is not None)
            line = Line(quantity=max(known.quantity, line.quantity), unit_usd=dearest)
        self.lines[side][share] = line

    def protect(self, side: Side, share: object, quantity: Decimal, unit_usd: Decimal) -> None:
        """A stop of that side; of those with an equal `share` one trades, and the one that saves least counts."""
        known = self.stops[side].get(share)
        if known is not None and known.unit_usd is not None:
            quantity = min(quantity, known.quantity)
            unit_usd = (min if side is Side.SELL else max)(unit_usd, known.unit_usd)
        self.stops[side][share] = Line(quantity=quantity, unit_usd=unit_usd)

    def total(self, side: Side) -> Decimal:
        return sum((line.quantity for line in self.lines[side].values()), ZERO)

    def counts(self, unsettled: Decimal) -> bool:
        """Whether it has a position, or orders that may open one."""
        return bool(self.position or unsettled or self.total(Side.BUY) or self.total(Side.SELL))

    def outcomes(self, unsettled: Decimal) -> tuple[Outcome, ...] | None:
        """What it may come to; fills that are not booked yet may be in the position, or not."""
        found = []
        for start in {self.position, self.position + unsettled}:
            kept, crossed = self._ways(start)
            if kept is None or crossed is None:
                return None
            found.append(Outcome(start, kept, crossed))
        return tuple(found)

    def at_risk_usd(self, outcomes: Iterable[Outcome]) -> Decimal:
        """What is lost if every stop is hit; what no stop covers is lost in full (C-24)."""
        worst = ZERO
        for start, kept, crossed in outcomes:
            if not start:  # it may go either way, and the other side's stops protect each
                worst = max(worst, kept - self._saved(ZERO, Side.BUY), crossed - self._saved(ZERO, Side.SELL))
            elif crossed:  # stops that turn the position round save nothing
                worst = max(worst, kept, crossed)
            else:
                worst = max(worst, kept - self._saved(start, Side.BUY if start > 0 else Side.SELL))
        return worst

    def outlay_usd(self, unsettled: Decimal) -> Decimal | None:
        """What the purchases that may still come will cost; buying back what is short opens nothing."""
        back = min(self.position, self.position + unsettled, ZERO)
        opened = self._value(self.lines[Side.BUY].values(), max(ZERO, self.total(Side.BUY) + back))
        fresh = self._marked(max(ZERO, unsettled))
        return None if opened is None or fresh is None else opened + fresh

    def _ways(self, start: Decimal) -> tuple[Decimal | None, Decimal | None]:
        """The value if the position grows as far as it may, and if it turns round as far as it may."""
        more, back = (Side.BUY, Side.SELL) if start >= 0 else (Side.SELL, Side.BUY)
        held = self._marked(abs(start))
        added = self._value(self.lines[more].values(), self.total(more))
        crossed = self._value(self.lines[back].values(), max(ZERO, self.total(back) - abs(start)))
        return None if held is None or added is None else held + added, crossed

    def _saved(self, start: Decimal, more: Side) -> Decimal:
        """What stops save at least of a position that grows by `more`: the cheapest units, the farthest stops first."""
        back = Side.SELL if more is Side.BUY else Side.BUY
        stops = [line for line in self.stops[back].values() if line.unit_usd is not None]
        if not stops:
            return ZERO
        priced = [line.unit_usd for line in self.lines[more].values()] + ([self.unit_usd] if start else [])
        unit = min((one for one in priced if one is not None), default=ZERO)
        left, saved = abs(start) + self.total(more), ZERO
        kept = [
            (min(unit, stop.unit_usd) if back is Side.SELL else max(ZERO, min(unit, 2 * unit - stop.unit_usd)), stop)
            for stop in stops
            if stop.unit_usd is not None
        ]
        for per_unit, stop in sorted(kept, key=lambda one: one[0]):
            covered = min(left, stop.quantity)
            saved, left = saved + covered * per_unit, left - covered
        return saved

    def _marked(self, quantity: Decimal) -> Decimal | None:
        """Of `quantity` units at the instrument's own worth."""
        if not quantity:
            return ZERO
        return None if self.unit_usd is None else quantity * self.unit_usd

    @staticmethod
    def _value(lines: Iterable[Line], quantity: Decimal) -> Decimal | None:
        """Of `quantity` units of `lines`, the dearest first."""
        value = ZERO
        if not quantity:
            return value
        priced = [(line.unit_usd, line.quantity) for line in lines if line.unit_usd is not None]
        if sum((units for _, units in priced), ZERO) < quantity:
            return None
        for unit_usd, units in sorted(priced, reverse=True):
            taken = min(units, quantity)
            value, quantity = value + taken * unit_usd, quantity - taken
        return value
