"""Things that go wrong at a real gateway, each under a name, to be switched on by a test, a flag or a script.

The gateway consults this object at the moments named below; it decides nothing by itself. `FAULTS` is the table behind
`Faults.apply("delay_acks:2.5")`.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ScriptedRejection:
    code: int
    text: str


class Faults:
    """The faults of one gateway. Counted ones happen to the next orders, switches last until switched back."""

    def __init__(self) -> None:
        self._due: Counter[str] = Counter()
        self._rejections: list[ScriptedRejection] = []
        self._listener: Callable[[str], None] = lambda event: None
        self.ack_delay_seconds = 0.0
        self.frozen = False
        self.refusing_connections = False
        self.connected_to_ibkr = True
        self.live_data_denied = False

    def listen(self, listener: Callable[[str], None]) -> None:
        """Hear of switches that the gateway must act on at once: `thawed`, `lost`, `restored`, `data_lost`."""
        self._listener = listener

    def apply(self, fault: str) -> None:
        """Switch on `NAME` or `NAME:ARG:ARG`, as the command line writes it.

        Raises:
            ValueError: no fault has that name, or its arguments do not fit.
        """
        name, *arguments = fault.split(":")
        switch = FAULTS.get(name)
        if switch is None:
            raise ValueError(f"There is no fault named {name!r}. Known: {', '.join(sorted(FAULTS))}.")
        kinds = [parameter.annotation for parameter in inspect.signature(switch).parameters.values()][1:]
        if len(arguments) > len(kinds):
            raise ValueError(f"{name} takes at most {len(kinds)} arguments, not {len(arguments)}.")
        try:
            switch(self, *[_READERS[kind](text) for kind, text in zip(kinds, arguments, strict=False)])
        except TypeError as error:
            raise ValueError(f"{name} lacks an argument: {error}") from error

    # --- the next orders ---

    def drop_next_order_ack(self, count: int = 1) -> None:
        """The order is accepted and works, but its client hears nothing of the placement."""
        self._due["drop_next_order_ack"] += count

    def disconnect_before_order(self, count: int = 1) -> None:
        """The connection dies as the order arrives; the order is lost."""
        self._due["disconnect_before_order"] += count

    def disconnect_after_order(self, count: int = 1) -> None:
        """The order is accepted, then the connection dies before any answer."""
        self._due["disconnect_after_order"] += count

    def reject_next_order(self, code: int = 201, text: str = "Order rejected - reason:Scripted") -> None:
        self._rejections.append(ScriptedRejection(code=code, text=text))

    # --- until switched back ---

    def delay_acks(self, seconds: float) -> None:
        """Answers to orders and cancels come this late by the gateway's clock; 0 ends it."""
        self.ack_delay_seconds = seconds

    def freeze(self) -> None:
        """Sockets stay open, nothing is read or answered until `thaw`, as in a hung process."""
        self.frozen = True

    def thaw(self) -> None:
        self.frozen = False
        self._listener("thawed")

    def refuse_connections(self, refuse: bool = True) -> None:
        """New connections are closed at once; those that exist stay."""
        self.refusing_connections = refuse

    def connectivity_lost(self) -> None:
        """1100: the gateway lost IBKR. Requests stall; orders go on working at IBKR."""
        self.connected_to_ibkr = False
        self._listener("lost")

    def connectivity_restored(self, data_lost: bool = False) -> None:
        """1102, or with `data_lost` 1101 and the end of every data subscription."""
        self.connected_to_ibkr = True
        self._listener("data_lost" if data_lost else "restored")

    def deny_live_data(self, deny: bool = True) -> None:
        """The account has no live market data: 10089 for live requests, 10167 and delayed ticks for delayed ones."""
        self.live_data_denied = deny

    # --- for the gateway ---

    def take(self, name: str) -> bool:
        """Whether a counted fault is due now; asking uses it up."""
        if not self._due[name]:
            return False
        self._due[name] -= 1
        return True

    def take_rejection(self) -> ScriptedRejection | None:
        return self._rejections.pop(0) if self._rejections else None


FAULTS: dict[str, Callable[..., None]] = {
    switch.__name__: switch
    for switch in (
        Faults.drop_next_order_ack,
        Faults.disconnect_before_order,
        Faults.disconnect_after_order,
        Faults.reject_next_order,
        Faults.delay_acks,
        Faults.freeze,
        Faults.thaw,
        Faults.refuse_connections,
        Faults.connectivity_lost,
        Faults.connectivity_restored,
        Faults.deny_live_data,
    )
}
_READERS: dict[str, Callable[[str], object]] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": lambda text: text.lower() in ("1", "true", "yes"),
}
