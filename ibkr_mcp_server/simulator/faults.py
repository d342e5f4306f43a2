"""Things that go wrong at a real gateway, each under a name, to be switched on by a test, a flag or a script.

The gateway consults this object at the moments named below; what must happen at once, a fault does on the `Stage`.
`FAULTS` is the table behind `Faults.apply("delay_acks:2.5")`.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class ScriptedRejection:
    code: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Farm:
    """One of IBKR's data services, as the gateway names its states."""

    broken: tuple[int, str]
    well: tuple[int, str]


FARMS = {
    "market": Farm(
        broken=(2103, "Market data farm connection is broken:usfarm"),
        well=(2104, "Market data farm connection is OK:usfarm"),
    ),
    "history": Farm(
        broken=(2105, "HMDS data farm connection is broken:ushmds"),
        well=(2106, "HMDS data farm connection is OK:ushmds"),
    ),
    "definitions": Farm(
        broken=(2157, "Sec-def data farm connection is broken:secdefnj"),
        well=(2158, "Sec-def data farm connection is OK:secdefnj"),
    ),
}

ORDER_WARNINGS = {
    10349: "Order TIF was set to DAY based on order preset.",
    399: "Order Message:\nWarning: your order will not be placed at the exchange until the next session",
    404: "Order held while securities are located.",
}

GARBAGE = {
    "length": b"\xff\xff\xff\xff",
    "frame": b"\x00\x00\x00\x079999\0?\0",
    "fields": b"\x00\x00\x00\x10" + b"1\0006\0x\0y\0z\0\0\0\0\0\0",
    "noise": bytes((number * 167 + 13) % 251 for number in range(64)),
}
"""`length` announces four gigabytes, `frame` is of an unknown kind, `fields` a tickPrice whose numbers are letters."""

ABSURD_QUOTES: dict[str, tuple[str, str, str]] = {
    "zero": ("0", "0", "0"),
    "negative": ("-1", "-1", "-1"),
    "crossed": ("200", "100", "150"),
    "huge": ("99999999", "100000000", "100000000"),
    "wide": ("0.01", "100000", "50000"),
}
"""Bid, ask and last."""


class FaultNotUnderstood(ValueError):
    """A line that names no fault, or does not fit the one that it names; the text says which."""


class Stage(Protocol):
    """The gateway, as far as a fault may lay hands on it."""

    def connections_thawed(self) -> None: ...

    def connectivity_changed(self, what: str) -> None:
        """`lost`, `restored` or `data_lost`."""
        ...

    def farm_changed(self, name: str, *, broken: bool) -> None: ...

    def competing_session_changed(self, competing: bool) -> None: ...

    def tell_everybody(self, code: int, text: str, *, times: int = 1) -> None: ...

    def send_garbage(self, data: bytes) -> None: ...

    def set_accounts(self, *accounts: str) -> None: ...

    def trade_by_hand(self, symbol: str, action: str, quantity: Decimal, limit_price: Decimal | None) -> None: ...

    def roll_back_order_ids(self, count: int) -> None: ...

    def show_quote(self, symbol: str, bid: str, ask: str, last: str | None) -> None: ...

    def release_quote(self, symbol: str) -> None: ...

    def withdraw_quote(self, symbol: str) -> None: ...

    def halt(self, symbol: str, halted: bool) -> None: ...

    def disconnect_all(self) -> None: ...

    def restart(self, seconds: float) -> None: ...


_OF_ORDERS = frozenset(
    {
        "drop_next_order_ack",
        "duplicate_next_order_ack",
        "disconnect_before_order",
        "disconnect_after_order",
        "inactive_next_order",
    }
)


class Faults:
    """The faults of one gateway. Counted ones happen to the next orders or messages, switches last until switched back.

    A symbol is one the catalogue lists; `EUR.USD` for a pair.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._due: Counter[str] = Counter()
        self._rejections: list[ScriptedRejection] = []
        self._warnings: list[int] = []
        self._spared = False
        self._reset_switches()

    def _reset_switches(self) -> None:
        self.ack_delay_seconds = 0.0
        self.read_delay_seconds = 0.0
        self.clock_skew_seconds = 0.0
        self.segment_bytes = 0
        self.cancel_seconds = 0.0
        self.presets_tif = False
        self.largest_fill: Decimal | None = None
        self.frozen = False
        self.refusing_connections = False
        self.connected_to_ibkr = True
        self.live_data_denied = False
        self.competing = False
        self.quotes_frozen = False
        self.commissions_come_first = False
        self.margin_times = Decimal(1)
        self.broken_farms: set[str] = set()

    def apply(self, fault: str) -> None:
        """Switch on `NAME` or `NAME:ARG:ARG`, as the command line writes it; the last argument may hold colons.

        Raises:
            FaultNotUnderstood: no fault has that name, or its arguments do not fit.
        """
        name, colon, rest = fault.partition(":")
        switch = FAULTS.get(name)
        if switch is None:
            raise FaultNotUnderstood(f"There is no fault named {name!r}. Known: {', '.join(sorted(FAULTS))}.")
        parameters = parameters_of(name)
        if colon and not parameters:
            raise FaultNotUnderstood(f"{name} takes no argument.")
        texts = rest.split(":", len(parameters) - 1) if colon else []
        if missing := [entry.name for entry in parameters[len(texts) :] if entry.default is inspect.Parameter.empty]:
            raise FaultNotUnderstood(f"{name} lacks an argument: {', '.join(missing)}.")
        try:
            arguments = [_READERS[entry.annotation](text) for entry, text in zip(parameters, texts, strict=False)]
            switch(self, *arguments)
        except (LookupError, ValueError, InvalidOperation) as error:
            raise FaultNotUnderstood(f"The fault {fault!r} does not fit: {error}") from error

    def clear(self) -> None:
        """End every switch and forget what is due; accounts, orders and scripted quotes stay as they are."""
        self._due.clear()
        self._rejections.clear()
        self._warnings.clear()
        was_frozen, was_connected, was_competing = self.frozen, self.connected_to_ibkr, self.competing
        was_broken = sorted(self.broken_farms)
        self._reset_switches()
        for farm in was_broken:
            self._stage.farm_changed(farm, broken=False)
        if was_competing:
            self._stage.competing_session_changed(False)
        if not was_connected:
            self._stage.connectivity_changed("restored")
        if was_frozen:
            self._stage.connections_thawed()

    # --- the next orders ---

    def drop_next_order_ack(self, count: int = 1) -> None:
        """The order is accepted and works, but its client hears nothing of the placement."""
        self._due["drop_next_order_ack"] += count

    def duplicate_next_order_ack(self, count: int = 1) -> None:
        """Everything said about the placement is said twice; the order is one."""
        self._due["duplicate_next_order_ack"] += count

    def disconnect_before_order(self, count: int = 1) -> None:
        """The connection dies as the order arrives; the order is lost."""
        self._due["disconnect_before_order"] += count

    def disconnect_after_order(self, count: int = 1) -> None:
        """The order is accepted, then the connection dies before any answer."""
        self._due["disconnect_after_order"] += count

    def reject_next_order(self, code: int = 201, text: str = "Order rejected - reason:Scripted") -> None:
        """The next placement or modification is refused with this code; 201 leaves a new order Inactive."""
        self._rejections.append(ScriptedRejection(code=code, text=text))

    def inactive_next_order(self, count: int = 1) -> None:
        """The order becomes Inactive and no reason is given."""
        self._due["inactive_next_order"] += count

    def warn_next_order(self, code: int = 10349) -> None:
        """The order works, but comes with a warning that some clients take for its end: 10349, 399 or 404."""
        if code not in ORDER_WARNINGS:
            raise ValueError(f"Known warnings are {', '.join(map(str, sorted(ORDER_WARNINGS)))}, not {code}.")
        self._warnings.append(code)

    def spare_next_orders(self, count: int = 1) -> None:
        """These orders pass unharmed; the faults of orders wait for the one after them, such as a bracket's stop."""
        self._due["spare_next_orders"] += count

    def fill_before_cancel(self, count: int = 1) -> None:
        """The next order to be cancelled fills completely just before, at its limit or the market."""
        self._due["fill_before_cancel"] += count

    # --- orders, until switched back ---

    def slow_cancels(self, seconds: float) -> None:
        """A cancelled order stays in PendingCancel this long and can fill; a second cancel is 161. 0 ends it."""
        self.cancel_seconds = seconds

    def preset_tif(self, preset: bool = True) -> None:
        """Orders without a time in force get DAY with a 10349, which some clients take for the order's end."""
        self.presets_tif = preset

    # --- the next messages and requests ---

    def drop_next_message(self, message_id: int, count: int = 1) -> None:
        """Messages of this kind are lost on their way to clients: 53 or 62 is an end marker, 3 an order's status."""
        self._due[f"drop {message_id}"] += count

    def duplicate_next_message(self, message_id: int, count: int = 1) -> None:
        """Messages of this kind are sent twice."""
        self._due[f"duplicate {message_id}"] += count

    def cut_next_frame(self, count: int = 1) -> None:
        """The next thing sent to a client ends in the middle of a frame, and the connection with it."""
        self._due["cut_next_frame"] += count

    def pace_next_requests(self, count: int = 1) -> None:
        """The next requests are dropped with error 100."""
        self._due["pace_next_requests"] += count

    def pace_next_history(self, count: int = 1) -> None:
        """The next historical requests are answered with 162, pacing violation."""
        self._due["pace_next_history"] += count

    def pace_next_real_time_bars(self, count: int = 1) -> None:
        """The next requests for real-time bars are answered with 420, pacing violation."""
        self._due["pace_next_real_time_bars"] += count

    # --- the line, until switched back ---

    def delay_acks(self, seconds: float) -> None:
        """Answers to orders and cancels come this late by the gateway's clock; 0 ends it."""
        self.ack_delay_seconds = seconds

    def slow_reader(self, seconds: float) -> None:
        """The gateway takes this long over every request of a client, one after the other; 0 ends it."""
        self.read_delay_seconds = seconds

    def partial_frames(self, size: int) -> None:
        """Everything is sent in pieces of `size` bytes; 0 ends it."""
        self.segment_bytes = size

    def freeze(self) -> None:
        """Sockets stay open, nothing is read or answered until `thaw`, as in a hung process."""
        self.frozen = True

    def thaw(self) -> None:
        """Ends `freeze`; what arrived meanwhile is worked off."""
        self.frozen = False
        self._stage.connections_thawed()

    def refuse_connections(self, refuse: bool = True) -> None:
        """New connections are closed at once; those that exist stay."""
        self.refusing_connections = refuse

    def disconnect(self) -> None:
        """Every connection dies now."""
        self._stage.disconnect_all()

    def garbage(self, kind: str = "length") -> None:
        """Every client is sent bytes that mean nothing: `length`, `frame`, `fields` or `noise`."""
        self._stage.send_garbage(GARBAGE[kind])

    # --- IBKR behind the gateway ---

    def connectivity_lost(self) -> None:
        """1100: the gateway lost IBKR. Requests stall; orders go on working at IBKR."""
        self.connected_to_ibkr = False
        self._stage.connectivity_changed("lost")

    def connectivity_restored(self, data_lost: bool = False) -> None:
        """1102, or with `data_lost` 1101 and the end of every data subscription."""
        self.connected_to_ibkr = True
        self._stage.connectivity_changed("data_lost" if data_lost else "restored")

    def farm_lost(self, farm: str = "market") -> None:
        """2103 `market`: quotes stop; 2105 `history`: history fails with 162; 2157 `definitions`: look-ups stall."""
        if farm not in FARMS:
            raise ValueError(f"Farms are {', '.join(FARMS)}, not {farm!r}.")
        self.broken_farms.add(farm)
        self._stage.farm_changed(farm, broken=True)

    def farm_restored(self, farm: str = "market") -> None:
        """2104, 2106 or 2158: the farm is back; streams catch up, stalled look-ups are answered."""
        if farm in self.broken_farms:
            self.broken_farms.discard(farm)
            self._stage.farm_changed(farm, broken=False)

    def deny_live_data(self, deny: bool = True) -> None:
        """The account has no live market data: 10089 for live requests, 10167 and delayed ticks for delayed ones."""
        self.live_data_denied = deny

    def competing_session(self, competing: bool = True) -> None:
        """10197: another login takes the live data; streams fall silent until it ends."""
        self.competing = competing
        self._stage.competing_session_changed(competing)

    def error_flood(self, count: int = 1_000, code: int = 2110, text: str = "Connectivity is broken.") -> None:
        """Every client is told the same error this many times."""
        self._stage.tell_everybody(code, text, times=count)

    # --- the gateway's own mistakes ---

    def clock_skew(self, seconds: float) -> None:
        """The gateway's clock is wrong by so much, ahead if positive; 0 ends it."""
        self.clock_skew_seconds = seconds

    def restart(self, seconds: float = 0, ids_lost: int = 0) -> None:
        """Every connection dies, new ones fail for so long; the newest order ids of each client may be forgotten."""
        if ids_lost:
            self._stage.roll_back_order_ids(ids_lost)
        self._stage.restart(seconds)

    def roll_back_order_ids(self, count: int = 10) -> None:
        """The gateway forgets the newest order ids, as after a restart without its settings: nextValidId repeats."""
        self._stage.roll_back_order_ids(count)

    def account_change(self, accounts: str) -> None:
        """Other accounts, comma separated, are served from now on."""
        self._stage.set_accounts(*accounts.split(","))

    def manual_trade(self, symbol: str, action: str, quantity: Decimal) -> None:
        """Somebody trades at the market by hand, in the first account."""
        self._stage.trade_by_hand(symbol, action, quantity, None)

    def manual_order(self, symbol: str, action: str, quantity: Decimal, limit_price: Decimal) -> None:
        """Somebody places a limit order by hand, in the first account."""
        self._stage.trade_by_hand(symbol, action, quantity, limit_price)

    def commissions_first(self, first: bool = True) -> None:
        """Commission reports overtake the executions that they belong to."""
        self.commissions_come_first = first

    def raise_margin(self, times: Decimal) -> None:
        """IBKR asks for so many times the usual margin, as it does before and in a storm; 1 ends it."""
        self.margin_times = times

    # --- the market ---

    def freeze_quotes(self, freeze: bool = True) -> None:
        """Every quote stays where it is, and looks as alive as before."""
        self.quotes_frozen = freeze

    def absurd_quote(self, symbol: str, kind: str = "crossed") -> None:
        """A quote that nobody should trade on, until `release_quote`: `zero`, `negative`, `crossed`, `huge`, `wide`."""
        self._stage.show_quote(symbol, *ABSURD_QUOTES[kind])

    def set_quote(self, symbol: str, bid: Decimal, ask: Decimal) -> None:
        """Hold a quote until `release_quote`."""
        self._stage.show_quote(symbol, str(bid), str(ask), None)

    def withdraw_quote(self, symbol: str) -> None:
        """No bid, ask or last until `release_quote`."""
        self._stage.withdraw_quote(symbol)

    def release_quote(self, symbol: str) -> None:
        """The market moves the quote again."""
        self._stage.release_quote(symbol)

    def halt(self, symbol: str) -> None:
        """Trading in it halts: its quote stands still and says so, orders in it wait."""
        self._stage.halt(symbol, True)

    def resume(self, symbol: str) -> None:
        """Ends `halt`."""
        self._stage.halt(symbol, False)

    def partial_fills(self, quantity: Decimal) -> None:
        """No fill is larger than `quantity`, one for each tick of the market; 0 ends it."""
        self.largest_fill = quantity or None

    # --- for the gateway ---

    def next_order(self) -> None:
        """An order arrives: what is due for orders is due for it, unless it is to be spared."""
        self._spared = False
        self._spared = self.take("spare_next_orders")

    def take(self, name: str) -> bool:
        """Whether a counted fault is due now; asking uses it up."""
        if not self._due[name] or (self._spared and name in _OF_ORDERS):
            return False
        self._due[name] -= 1
        return True

    def take_rejection(self) -> ScriptedRejection | None:
        return self._rejections.pop(0) if self._rejections and not self._spared else None

    def take_warning(self) -> tuple[int, str] | None:
        if not self._warnings or self._spared:
            return None
        code = self._warnings.pop(0)
        return code, ORDER_WARNINGS[code]

    def copies_of(self, message_id: object) -> int:
        """How often a message of this kind leaves: once, unless it is to be lost or doubled."""
        if not self._due:
            return 1
        if self.take(f"drop {message_id}"):
            return 0
        return 2 if self.take(f"duplicate {message_id}") else 1


FAULTS: dict[str, Callable[..., None]] = {
    switch.__name__: switch
    for switch in (
        Faults.clear,
        Faults.drop_next_order_ack,
        Faults.duplicate_next_order_ack,
        Faults.disconnect_before_order,
        Faults.disconnect_after_order,
        Faults.reject_next_order,
        Faults.inactive_next_order,
        Faults.warn_next_order,
        Faults.spare_next_orders,
        Faults.fill_before_cancel,
        Faults.slow_cancels,
        Faults.preset_tif,
        Faults.drop_next_message,
        Faults.duplicate_next_message,
        Faults.cut_next_frame,
        Faults.pace_next_requests,
        Faults.pace_next_history,
        Faults.pace_next_real_time_bars,
        Faults.delay_acks,
        Faults.slow_reader,
        Faults.partial_frames,
        Faults.freeze,
        Faults.thaw,
        Faults.refuse_connections,
        Faults.disconnect,
        Faults.garbage,
        Faults.connectivity_lost,
        Faults.connectivity_restored,
        Faults.farm_lost,
        Faults.farm_restored,
        Faults.deny_live_data,
        Faults.competing_session,
        Faults.error_flood,
        Faults.clock_skew,
        Faults.restart,
        Faults.roll_back_order_ids,
        Faults.account_change,
        Faults.manual_trade,
        Faults.manual_order,
        Faults.commissions_first,
        Faults.raise_margin,
        Faults.freeze_quotes,
        Faults.absurd_quote,
        Faults.set_quote,
        Faults.withdraw_quote,
        Faults.release_quote,
        Faults.halt,
        Faults.resume,
        Faults.partial_fills,
    )
}


def parameters_of(fault: str) -> list[inspect.Parameter]:
    """What a fault takes, in the order in which its line names them."""
    return list(inspect.signature(FAULTS[fault]).parameters.values())[1:]


_READERS: dict[str, Callable[[str], object]] = {
    "int": int,
    "float": float,
    "str": str,
    "Decimal": Decimal,
    "bool": lambda text: text.lower() in ("1", "true", "yes"),
}
