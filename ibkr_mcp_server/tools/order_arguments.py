"""The arguments that order tools share: what an order asks for, how one is named, and the key of a request."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from ibkr_mcp_server.domain.operations import BracketDraft, CloseDraft, ModificationDraft, OrderDraft, OrderReference
from ibkr_mcp_server.domain.orders import CHANGEABLE, OrderType, TimeInForce
from ibkr_mcp_server.tools.arguments import (
    Account,
    Action,
    Arguments,
    InstrumentArguments,
    Moment,
    Number,
    PermId,
    RequestKey,
    Tif,
)

NAMES = {
    "price": "limit_price",
    "trigger_price": "stop_price",
    "trail_amount": "trailing_amount",
    "trail_percent": "trailing_percent",
    "time_in_force": "tif",
    "side": "action",
}
"""What callers also call a term."""


class Keyed(Arguments):
    client_request_id: RequestKey | SkipJsonSchema[None] = Field(
        default=None, description="Your own unique key; repeating a call with it never sends twice"
    )


class OrderArguments(InstrumentArguments):
    """What every order states; each tool adds the terms of its order types, under the names of `Order`."""

    also_called: ClassVar = NAMES

    action: Action = Field(description="BUY or SELL")
    quantity: Number = Field(description="Units: shares, contracts, or base currency")
    tif: Tif = Field(default="DAY", description="Entries are DAY; GTC is for protective orders")
    good_till_date: Moment | SkipJsonSchema[None] = Field(
        default=None, description="For tif GTD, e.g. 20261120 15:30:00 US/Eastern"
    )
    account: Account | SkipJsonSchema[None] = Field(default=None, description="Else the default account")

    def draft(self, order_type: str) -> OrderDraft:
        return OrderDraft(
            query=self.query(),
            side=self.action,
            quantity=self.quantity,
            order_type=OrderType(order_type),
            time_in_force=TimeInForce(self.tif),
            outside_rth=getattr(self, "outside_rth", False),
            account=self.account,
            **{name: getattr(self, name, None) for name in CHANGEABLE},
        )


class CheckOrderArguments(OrderArguments):
    order_type: Literal[
        "MKT", "LMT", "STP", "STP LMT", "TRAIL", "TRAIL LIMIT", "MOC", "LOC", "MIT", "LIT", "REL", "MIDPRICE"
    ] = Field(description="IBKR order type")
    limit_price: Number | SkipJsonSchema[None] = Field(default=None, description="Limit, or cap of REL and MIDPRICE")
    stop_price: Number | SkipJsonSchema[None] = Field(default=None, description="Stop, or trigger of MIT and LIT")
    trailing_amount: Number | SkipJsonSchema[None] = Field(default=None, description="For TRAIL, TRAIL LIMIT")
    trailing_percent: Number | SkipJsonSchema[None] = Field(default=None, description="Instead of the amount: 2 is 2 %")
    limit_offset: Number | SkipJsonSchema[None] = Field(default=None, description="For TRAIL LIMIT and REL")
    outside_rth: bool = Field(default=False, description="Also work outside regular hours")


class MarketOrderArguments(OrderArguments, Keyed):
    also_called: ClassVar = {name: own for name, own in NAMES.items() if own != "limit_price"}

    order_type: Literal["MKT", "MOC", "MIT"] = Field(default="MKT", description="MOC: at the close; MIT: once touched")
    stop_price: Number | SkipJsonSchema[None] = Field(default=None, description="Trigger of MIT")


class LimitOrderArguments(OrderArguments, Keyed):
    limit_price: Number = Field(description="Per unit, in the instrument's currency, on its price grid")
    order_type: Literal["LMT", "LOC", "LIT", "REL", "MIDPRICE"] = Field(
        default="LMT", description="For REL and MIDPRICE limit_price is the cap"
    )
    stop_price: Number | SkipJsonSchema[None] = Field(default=None, description="Trigger of LIT")
    limit_offset: Number | SkipJsonSchema[None] = Field(default=None, description="REL: better than the best price by")
    outside_rth: bool = Field(default=False, description="Also work outside regular hours")


class ReferenceArguments(Arguments):
    one_of: ClassVar = ("perm_id", "order_request_id")

    perm_id: PermId | SkipJsonSchema[None] = Field(default=None, description="The order's permanent id")
    order_request_id: RequestKey | SkipJsonSchema[None] = Field(
        default=None, description="client_request_id that placed the order"
    )

    def reference(self, *, only_stops: bool = False) -> OrderReference:
        return OrderReference(perm_id=self.perm_id, client_request_id=self.order_request_id, only_stops=only_stops)


class ModifyOrderArguments(ReferenceArguments, Keyed):
    also_called: ClassVar = NAMES

    quantity: Number | SkipJsonSchema[None] = Field(default=None, description="New total quantity, fills included")
    limit_price: Number | SkipJsonSchema[None] = Field(default=None, description="New limit price")
    stop_price: Number | SkipJsonSchema[None] = Field(default=None, description="New stop or trigger price")
    trailing_amount: Number | SkipJsonSchema[None] = Field(default=None, description="New distance to trail")
    trailing_percent: Number | SkipJsonSchema[None] = Field(default=None, description="New distance to trail, in %")
    limit_offset: Number | SkipJsonSchema[None] = Field(default=None, description="New limit offset")
    tif: Tif | SkipJsonSchema[None] = Field(default=None, description="New time in force")
    good_till_date: Moment | SkipJsonSchema[None] = Field(default=None, description="New end of a GTD order")
    outside_rth: bool | SkipJsonSchema[None] = Field(default=None, description="Also outside regular hours")

    def draft(self, *, only_stops: bool = False) -> ModificationDraft:
        return ModificationDraft(
            order=self.reference(only_stops=only_stops),
            quantity=self.quantity,
            time_in_force=None if self.tif is None else TimeInForce(self.tif),
            outside_rth=self.outside_rth,
            **{name: getattr(self, name) for name in CHANGEABLE},
        )


class CancelOrderArguments(ReferenceArguments, Keyed):
    pass


class ClosePositionArguments(InstrumentArguments, Keyed):
    also_called: ClassVar = {"price": "limit_price"}

    quantity: Number | SkipJsonSchema[None] = Field(default=None, description="Default: all that can be closed")
    limit_price: Number | SkipJsonSchema[None] = Field(default=None, description="Default: at the market, capped")
    outside_rth: bool = Field(default=False, description="With limit_price: also outside regular hours")
    account: Account | SkipJsonSchema[None] = Field(default=None, description="Default: the first account")

    def draft(self) -> CloseDraft:
        return CloseDraft(
            query=self.query(),
            quantity=self.quantity,
            limit_price=self.limit_price,
            outside_rth=self.outside_rth,
            account=self.account,
        )


class CancelAllArguments(Keyed):
    include_protective: bool = Field(default=False, description="Also cancel stops that protect positions")
    account: Account | SkipJsonSchema[None] = Field(default=None, description="Only of this account")


class StopLossArguments(OrderArguments, Keyed):
    tif: Tif = Field(default="GTC", description="GTC outlives the day; DAY where GTC is refused")
    order_type: Literal["STP", "STP LMT", "TRAIL", "TRAIL LIMIT"] = Field(
        default="STP", description="STP and TRAIL become market orders"
    )
    stop_price: Number | SkipJsonSchema[None] = Field(
        default=None, description="Required for STP and STP LMT; where a trailing stop begins"
    )
    limit_price: Number | SkipJsonSchema[None] = Field(default=None, description="For STP LMT")
    trailing_amount: Number | SkipJsonSchema[None] = Field(default=None, description="Distance of TRAIL, TRAIL LIMIT")
    trailing_percent: Number | SkipJsonSchema[None] = Field(default=None, description="Instead of the amount: 2 is 2 %")
    limit_offset: Number | SkipJsonSchema[None] = Field(default=None, description="TRAIL LIMIT: limit beyond stop by")
    outside_rth: bool = Field(default=False, description="Also wake outside regular hours")


class BracketArguments(OrderArguments, Keyed):
    also_called: ClassVar = NAMES | {
        "entry_price": "limit_price",
        "take_profit": "take_profit_price",
        "stop_loss": "stop_loss_price",
        "stop_price": "stop_loss_price",
    }

    take_profit_price: Number = Field(description="Limit of the order that takes the profit")
    stop_loss_price: Number = Field(description="Stop of the order that limits the loss")
    order_type: Literal["LMT", "MKT"] = Field(default="LMT", description="Of the entry")
    limit_price: Number | SkipJsonSchema[None] = Field(default=None, description="Of an LMT entry")
    stop_limit_price: Number | SkipJsonSchema[None] = Field(default=None, description="Makes the stop a STP LMT")
    stop_loss_tif: Literal["GTC", "DAY"] = Field(default="GTC", description="Of the stop; the take-profit is DAY")
    outside_rth: bool = Field(default=False, description="All three also outside regular hours")

    def bracket(self) -> BracketDraft:
        return BracketDraft(
            entry=self.draft(self.order_type),
            take_profit_price=self.take_profit_price,
            stop_loss_price=self.stop_loss_price,
            stop_limit_price=self.stop_limit_price,
            stop_loss_tif=TimeInForce(self.stop_loss_tif),
        )


class OrderStatusArguments(ReferenceArguments):
    also_called: ClassVar = {"client_request_id": "order_request_id"}


class WaitForOrderArguments(OrderStatusArguments):
    until: Literal["final", "change"] = Field(default="final", description="Its end, or any change")
    timeout_seconds: float = Field(default=20.0, ge=1, le=60, description="How long to wait at most")
