"""What the broker says about one order or one request, and waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from ibkr_mcp_server.broker.error_codes import Kind, explain
from ibkr_mcp_server.broker.library import ib_async
from ibkr_mcp_server.domain.orders import Order, OrderStatus


@dataclass(frozen=True, kw_only=True)
class Remark:
    """A message of the broker about one request or order."""

    code: int
    text: str

    @property
    def kind(self) -> Kind:
        return explain(self.code).kind


class LinkLost(Exception):
    """The connection ended while something was waited for."""


@dataclass(kw_only=True, eq=False)
class Hearing:
    """What the broker says about one order after something was sent about it."""

    sent: Order | None = None
    echo: ib_async.Order | None = None
    status: OrderStatus | None = None
    remarks: list[Remark] = field(default_factory=list)
    lost: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def no(self) -> Remark | None:
        """The newest remark by which the broker refused what was sent."""
        return self.remark(Kind.REFUSED, Kind.UNAVAILABLE)

    def remark(self, *kinds: Kind) -> Remark | None:
        """The newest remark of one of `kinds`, leaving out the mere notice of a cancellation."""
        fitting = (remark for remark in reversed(self.remarks) if remark.kind in kinds and remark.code != 202)
        return next(fitting, None)

    async def until(self, enough: Callable[[], bool]) -> None:
        """Wait until what was said is `enough`.

        Raises:
            LinkLost: the connection ended first.
        """
        while not enough():
            if self.lost:
                raise LinkLost
            self.news.clear()
            await self.news.wait()
