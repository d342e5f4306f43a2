"""What an order would do to the margin, as the broker reckons it: an order with the flag `whatIf` is never placed."""

from __future__ import annotations

from ibkr_mcp_server.broker import translate
from ibkr_mcp_server.broker.library import ib_async
from ibkr_mcp_server.broker.session import Session
from ibkr_mcp_server.domain.accounts import MarginPreview
from ibkr_mcp_server.domain.orders import Order


class MarginPreviews:
    """The questions of one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def of(self, order: Order) -> MarginPreview:
        """See `BrokerReads.margin_preview`."""
        contract, wire = translate.contract_for(order.instrument), translate.wire_order(order)
        wire.whatIf = True
        [state] = await self._session.numbered(
            "the margin after the order", lambda number: self._session.client.placeOrder(number, contract, wire)
        )
        assert isinstance(state, ib_async.OrderState)
        return MarginPreview(
            maintenance_before=translate.number(state.maintMarginBefore),
            maintenance_after=translate.number(state.maintMarginAfter),
            initial_after=translate.number(state.initMarginAfter),
            equity_after=translate.number(state.equityWithLoanAfter),
        )
