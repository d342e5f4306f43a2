"""The arguments that order tools share: what an order asks for, how one is named, and the key of a request."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar, Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from ibkr_mcp_server.domain.operations import OrderDraft, OrderReference
from ibkr_mcp_server.domain.orders import OrderType, TimeInForce
from ibkr_mcp_server.tools.arguments import (
    Account,
    Action,
    Arguments,
    InstrumentArguments,
    Number,
    PermId,
    RequestKey,
    Tif,
)


class Keyed(Arguments):
    client_request_id: RequestKey | SkipJsonSchema[None] = Field(
        default=None, description="Your own unique key; repeating a call with it never sends twice"
    )


class OrderArguments(InstrumentArguments):
    also_called: ClassVar = {"price": "limit_price", "time_in_force": "tif", "side": "action"}

    action: Action = Field(description="BUY or SELL")
    quantity: Number = Field(description="Units: shares, contracts, or base currency")
    tif: Tif = Field(default="DAY", description="Entries are DAY; GTC is for protective orders")
    account: Account | SkipJsonSchema[None] = Field(default=None, description="Default: the first account")

    def draft(
        self,
        order_type: OrderType,
        *,
        limit_price: Decimal | None = None,
        stop_price: Decimal | None = None,
        outside_rth: bool = False,
    ) -> OrderDraft:
        return OrderDraft(
            query=self.query(),
            side=self.action,
            quantity=self.quantity,
            order_type=order_type,
            limit_price=limit_price,
            stop_price=stop_price,
            time_in_force=TimeInForce(self.tif),
            outside_rth=outside_rth,
            account=self.account,
        )


class CheckOrderArguments(OrderArguments):
    order_type: Literal["MKT", "LMT", "STP", "STP LMT"] = Field(description="IBKR order type")
    limit_price: Number | SkipJsonSchema[None] = Field(default=None, description="For LMT and STP LMT")
    stop_price: Number | SkipJsonSchema[None] = Field(default=None, description="For STP and STP LMT")
    outside_rth: bool = Field(default=False, description="Also work outside regular hours")


class MarketOrderArguments(OrderArguments, Keyed):
    also_called: ClassVar = {"time_in_force": "tif", "side": "action"}


class LimitOrderArguments(OrderArguments, Keyed):
    limit_price: Number = Field(description="Per unit, in the instrument's currency, on its price grid")
    outside_rth: bool = Field(default=False, description="Also work outside regular hours")


class ReferenceArguments(Arguments):
    one_of: ClassVar = ("perm_id", "order_request_id")

    perm_id: PermId | SkipJsonSchema[None] = Field(default=None, description="The order's permanent id")
    order_request_id: RequestKey | SkipJsonSchema[None] = Field(
        default=None, description="client_request_id that placed the order"
    )

    def reference(self) -> OrderReference:
        return OrderReference(perm_id=self.perm_id, client_request_id=self.order_request_id)


class ModifyOrderArguments(ReferenceArguments, Keyed):
    also_called: ClassVar = {"price": "limit_price", "time_in_force": "tif"}

    quantity: Number | SkipJsonSchema[None] = Field(default=None, description="New total quantity, fills included")
    limit_price: Number | SkipJsonSchema[None] = Field(default=None, description="New limit price")
    stop_price: Number | SkipJsonSchema[None] = Field(default=None, description="New stop price")
    tif: Tif | SkipJsonSchema[None] = Field(default=None, description="New time in force")


class CancelOrderArguments(ReferenceArguments, Keyed):
    pass


class OrderStatusArguments(ReferenceArguments):
    also_called: ClassVar = {"client_request_id": "order_request_id"}
