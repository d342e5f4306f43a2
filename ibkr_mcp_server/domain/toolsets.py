"""Which tools a server shows, of all that there are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ibkr_mcp_server.domain.operations import OperationClass


class Toolset(StrEnum):
    """The family a tool belongs to."""

    ACCOUNT = "account"
    MARKET_DATA = "market_data"
    OPTIONS = "options"
    RESEARCH = "research"
    FOREX = "forex"
    ORDERS = "orders"
    SAFETY = "safety"


@dataclass(frozen=True, kw_only=True)
class ToolChoice:
    """What the operator chose to show."""

    toolsets: tuple[Toolset, ...] = tuple(Toolset)
    read_only: bool = False
    """Leaves out every tool of a class that can change something at the broker, previews included."""

    def shows(self, toolset: str, operation_class: str) -> bool:
        """Whether a tool is shown. Those of the safety family always are: an agent must be able to look and to stop."""
        if toolset == Toolset.SAFETY:
            return True
        if self.read_only and OperationClass(operation_class).changes_the_broker:
            return False
        return toolset in self.toolsets


ALL_TOOLS = ToolChoice()
