"""What the watch over the risk carries across restarts: marks and windows of the equity, peaks, answers (CB-03).

Kept as records of the store, a few seconds apart, and at once when something got worse. Windows are measured on the
machine's own time; under another boot they are moved by what the wall clock says has passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.broker.base import AnswersOfASecond
from ibkr_mcp_server.domain.accounts import masked
from ibkr_mcp_server.domain.operations import SYSTEM
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.safety.equity import EquityMeter, Payment
from ibkr_mcp_server.store import risk_records
from ibkr_mcp_server.store.deadlines import elapsed_seconds
from ibkr_mcp_server.store.risk_records import RiskRecord

SAVE_SECONDS = 15.0
SAVE_AT_ONCE = Decimal("0.001")
"""An equity or a mark that moves by this share is kept at once, a smaller change within `SAVE_SECONDS`."""

PEAKS = "strategy_peaks"
"""Name of the record that holds the highest profit of each agent (ST-02)."""
ANSWERS = "broker_answers"
"""Name of the record that holds how well the broker answered lately (CB-20, CB-21)."""


class RiskMemory:
    """The memory of one process; `recall` comes before everything else."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.meters: dict[str, EquityMeter] = {}
        """By account."""
        self.peaks: dict[str, Decimal] = {}
        """By agent: its highest profit since it was last resumed."""
        self._is_recalled = False
        self._saved_meters: dict[str, tuple[float, dict[str, object]]] = {}
        self._saved_peaks: dict[str, Decimal] = {}
        self._peaks_saved_at = self._answers_saved_at = desk.clock.monotonic()
        self._saved_answers: Sequence[AnswersOfASecond] = ()

    async def recall(self, accounts: Sequence[str]) -> None:
        """One meter for each of these accounts, and what earlier runs left."""
        read = self._desk.database.read
        for account in accounts:
            if account not in self.meters:
                kept = await read(partial(risk_records.read, name=_name(account)))
                self.meters[account] = EquityMeter(account=account) if kept is None else self._meter(account, kept)
        for account in set(self.meters) - set(accounts):
            del self.meters[account]
        if not self._is_recalled:
            peaks = await read(partial(risk_records.read, name=PEAKS))
            answers = await read(partial(risk_records.read, name=ANSWERS))
            self._saved_peaks = {} if peaks is None else {name: Decimal(one) for name, one in peaks.record.items()}
            self.peaks = dict(self._saved_peaks)
            if answers is not None:
                shift = round(self._shift(answers))
                earlier = (AnswersOfASecond(*row) for row in answers.record["seconds"])
                self._desk.broker.count_on(one._replace(second=one.second + shift) for one in earlier)
            self._is_recalled = True

    async def save(self) -> None:
        """Keep what changed; what got worse at once."""
        now = self._desk.clock.monotonic()
        meters = {account: meter.as_json() for account, meter in self.meters.items() if self._is_due(meter, now)}
        peaks = self.peaks if self._peaks_are_due(now) else None
        counted = self._desk.broker.answers_kept()
        answers = counted if self._answers_are_due(counted, now) else None
        if not meters and peaks is None and answers is None:
            return
        reading = {"monotonic": now, "boot_id": self._desk.clock.boot_id}
        paid = {account: tuple(self.meters[account].payments) for account in meters}

        def work(connection: Connection) -> None:
            def write(name: str, record: Mapping[str, Any]) -> None:
                risk_records.write(connection, name, record, self._desk.clock.now())

            for account, record in meters.items():
                write(_name(account), {**record, "clock": reading})
            # Together with the marks that it moved, so that a crash makes it neither twice nor lost.
            for account, payments in paid.items():
                self._desk.audit.append(connection, *(self._paid(account, one) for one in payments))
            if peaks is not None:
                write(PEAKS, peaks)
            if answers is not None:
                write(ANSWERS, {"seconds": answers, "clock": reading})

        await self._desk.database.run(work)
        self._saved_meters |= {account: (now, record) for account, record in meters.items()}
        for account, recorded in paid.items():
            del self.meters[account].payments[: len(recorded)]
        if peaks is not None:
            self._saved_peaks, self._peaks_saved_at = dict(peaks), now
        if answers is not None:
            self._saved_answers, self._answers_saved_at = answers, now

    # ---- parts of it

    def _paid(self, account: str, payment: Payment) -> AuditEvent:
        """LED-07: the broker does not tell of payments; this one shows in what no fill explains."""
        if payment.is_of_holdings:
            kind = EventType.TRANSFER
        else:
            kind = EventType.DEPOSIT if payment.amount > 0 else EventType.WITHDRAWAL
        balances = self._desk.broker.known_balances(account)
        outcome = {
            "account": masked(account),
            "amount": payment.amount,
            "currency": None if balances is None else balances.base_currency,
            "cash": payment.cash,
            "holdings": payment.holdings,
            "equity": payment.equity,
            "noticed_at": payment.at,
        }
        return AuditEvent(type=kind, actor=SYSTEM, outcome=outcome)

    def _meter(self, account: str, kept: RiskRecord) -> EquityMeter:
        return EquityMeter.of_json(account, kept.record, shift_seconds=self._shift(kept))

    def _shift(self, kept: RiskRecord) -> float:
        """What turns monotonic seconds of a record into those of this run; what seems to be of the future is of now."""
        reading, clock = kept.record.get("clock"), self._desk.clock
        if reading is None:
            return 0.0  # a record without windows
        passed = elapsed_seconds(clock, began_at=kept.updated_at, **reading)
        return clock.monotonic() - max(0.0, passed) - float(reading["monotonic"])

    def _peaks_are_due(self, now: float) -> bool:
        if self.peaks.keys() != self._saved_peaks.keys():
            return True
        equity = min((meter.equity for meter in self.meters.values() if meter.equity is not None), default=Decimal())
        is_late = now - self._peaks_saved_at >= SAVE_SECONDS
        return (is_late and self.peaks != self._saved_peaks) or any(
            peak - self._saved_peaks[name] > SAVE_AT_ONCE * abs(equity) for name, peak in self.peaks.items()
        )

    def _answers_are_due(self, answers: Sequence[AnswersOfASecond], now: float) -> bool:
        is_late = now - self._answers_saved_at >= SAVE_SECONDS
        return _newest_bad(answers) != _newest_bad(self._saved_answers) or (is_late and answers != self._saved_answers)

    def _is_due(self, meter: EquityMeter, now: float) -> bool:
        if meter.marks is None or meter.known is None or not meter.is_told:
            return False
        saved = self._saved_meters.get(meter.account)
        if saved is None or meter.payments:
            return True
        at, record = saved
        if now - at >= SAVE_SECONDS:
            return meter.as_json() != record
        marks, kept = meter.marks.as_json(), record["marks"]
        assert isinstance(kept, dict)
        if marks["day"] != kept["day"]:
            return True
        equity = Decimal(str(record["equity"]))
        moved = meter.equity is not None and abs(meter.equity - equity) > SAVE_AT_ONCE * abs(equity)
        return moved or any(
            abs(Decimal(marks[name]) - Decimal(kept[name])) > SAVE_AT_ONCE * abs(Decimal(kept[name]))
            for name in ("day_start", "day_peak", "week_peak", "high_water")
        )


def _newest_bad(answers: Sequence[AnswersOfASecond]) -> AnswersOfASecond | None:
    return next((one for one in reversed(answers) if one.failed or one.errors), None)


def _name(account: str) -> str:
    return f"equity:{account}"
