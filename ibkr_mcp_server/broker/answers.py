"""Answers on their way: rows that arrive one by one, each put to the request that it belongs to.

Requests with an id are told apart by it, the others by their kind, of which one is under way at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Enough = Callable[[list[Any]], bool]
"""Whether the rows so far are all that is wanted of a stream that has no end."""


@dataclass(kw_only=True)
class Answer:
    """What has come so far, and the future of the whole."""

    what: str
    rows: list[Any] = field(default_factory=list)
    enough: Enough | None = None
    done: asyncio.Future[list[Any]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def add(self, rows: Sequence[Any]) -> None:
        self.rows.extend(rows)
        if self.enough is not None and self.enough(self.rows):
            self.end()

    def end(self) -> None:
        if not self.done.done():
            self.done.set_result(self.rows)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # its caller may have gone


class Answers:
    """Everything that is waited for on one connection. What nobody waits for is dropped."""

    def __init__(self) -> None:
        self.numbered: dict[int, Answer] = {}
        self.families: dict[str, Answer] = {}

    def add(self, req_id: int, *rows: Any) -> None:
        """Rows of the request with this id."""
        if (answer := self.numbered.get(req_id)) is not None:
            answer.add(rows)

    def end(self, req_id: int, *rows: Any) -> None:
        """The last rows, if any, and the end of that answer."""
        if (answer := self.numbered.get(req_id)) is not None:
            answer.add(rows)
            answer.end()

    def add_to(self, what: str, *rows: Any) -> None:
        """Rows of the request of this kind."""
        if (answer := self.families.get(what)) is not None:
            answer.add(rows)

    def end_of(self, what: str, *rows: Any) -> None:
        if (answer := self.families.get(what)) is not None:
            answer.add(rows)
            answer.end()

    def fail_all(self, error: Exception) -> None:
        for answer in [*self.numbered.values(), *self.families.values()]:
            answer.fail(error)
