"""The slow part of every walk: what an instrument's own luck adds up to at the end of each replay day."""

from __future__ import annotations

from random import Random

KEPT = 0.998
"""Of the noise, per day: it fades over a year or two, so that no price wanders off to nought or infinity."""


class Noise:
    """In a day's standard deviations, at each close: nought on day -1. Both directions grow as they are asked for."""

    def __init__(self, key: str) -> None:
        self._forward = [0.0]
        self._backward = [0.0]
        self._forward_rng = Random(f"{key}:forward")
        self._backward_rng = Random(f"{key}:backward")

    def at_close(self, day: int) -> float:
        steps = abs(day + 1)
        known, rng = (self._forward, self._forward_rng) if day >= 0 else (self._backward, self._backward_rng)
        while len(known) <= steps:
            known.append(KEPT * known[-1] + rng.gauss(0.0, 1.0))
        return known[steps]
