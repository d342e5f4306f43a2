"""Which options there are on an underlying."""

from __future__ import annotations

from ibkr_mcp_server.broker.research_rows import merged_chains
from ibkr_mcp_server.broker.session import Session
from ibkr_mcp_server.domain.instruments import Instrument, SecType
from ibkr_mcp_server.domain.options import OptionChain


class OptionChains:
    """The chains of one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def chains(self, underlying: Instrument) -> list[OptionChain]:
        """See `BrokerReads.option_chains`."""
        # Options on futures hang on one exchange and have to be asked for there; all others must not name one.
        exchange = underlying.exchange if underlying.sec_type is SecType.FUT else ""
        rows: list[OptionChain] = await self._session.numbered(
            f"the options on {underlying.label}",
            lambda req_id: self._session.client.reqSecDefOptParams(
                req_id, underlying.symbol, exchange, underlying.sec_type.value, underlying.con_id
            ),
        )
        return merged_chains(rows)
