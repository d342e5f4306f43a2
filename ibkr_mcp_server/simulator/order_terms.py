"""What a client asks of an order: the long tail of placeOrder (tws-wire guide, section 9).

The gateway understands some thirty of its attributes and gives them types here. It keeps every other one as the client
wrote it, by name, so that openOrder and completedOrder can echo it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache

from ibkr_mcp_server.simulator.wire import (
    FieldReader,
    MalformedMessage,
    is_infinite,
    parse_boolean,
    parse_decimal,
    parse_integer,
)

FIRST_WITHOUT_FA_PROFILE = 177
PEG_BENCH = ("PEG BENCH", "PEGBENCH")
_PEG_BEST = ("PEG BEST", "PEGBEST")
_PEG_MID = ("PEG MID", "PEGMID")


def _names(text: str) -> list[str]:
    return text.split()


COMBO_LEG_FIELDS = 8
DELTA_NEUTRAL_FIELDS = _names(
    "deltaNeutralConId deltaNeutralSettlingFirm deltaNeutralClearingAccount deltaNeutralClearingIntent"
    " deltaNeutralOpenClose deltaNeutralShortSale deltaNeutralShortSaleSlot deltaNeutralDesignatedLocation"
)
SCALE_FIELDS = _names(
    "scalePriceAdjustValue scalePriceAdjustInterval scaleProfitOffset scaleAutoReset scaleInitPosition"
    " scaleInitFillQty scaleRandomPercent"
)
PEG_BENCH_FIELDS = _names(
    "referenceContractId isPeggedChangeAmountDecrease peggedChangeAmount referenceChangeAmount referenceExchangeId"
)
CONDITION_FIELDS = {1: 5, 3: 2, 4: 2, 5: 3, 6: 4, 7: 4}
"""Fields of a condition by its type, after the type and the "a"|"o" that joins it to the next."""

_BEFORE_LEGS = _names(
    "secIdType secId action totalQuantity orderType lmtPrice auxPrice tif ocaGroup account openClose origin orderRef"
    " transmit parentId blockOrder sweepToFill displaySize triggerMethod outsideRth hidden"
)
_BEFORE_MODEL = _names("discretionaryAmt goodAfterTime goodTillDate faGroup faMethod faPercentage")
_BEFORE_DELTA_NEUTRAL = _names(
    "modelCode shortSaleSlot designatedLocation exemptCode ocaType rule80A settlingFirm allOrNone minQty percentOffset"
    " eTradeOnly firmQuoteOnly nbboPriceCap auctionStrategy startingPrice stockRefPrice delta stockRangeLower"
    " stockRangeUpper overridePercentageConstraints volatility volatilityType deltaNeutralOrderType"
    " deltaNeutralAuxPrice"
)
_BEFORE_SCALE = _names(
    "continuousUpdate referencePriceType trailStopPrice trailingPercent scaleInitLevelSize scaleSubsLevelSize"
    " scalePriceIncrement"
)
_BEFORE_HEDGE = _names("scaleTable activeStartTime activeStopTime hedgeType")
_BEFORE_ALGO = _names("optOutSmartRouting clearingAccount clearingIntent notHeld")
_BEFORE_PEG = _names("algoId whatIf orderMiscOptions solicited randomizeSize randomizePrice")
_TAIL = _names(
    "adjustedOrderType triggerPrice lmtPriceOffset adjustedStopPrice adjustedStopLimitPrice adjustedTrailingAmount"
    " adjustableTrailingUnit extOperator softDollarTierName softDollarTierValue cashQty mifid2DecisionMaker"
    " mifid2DecisionAlgo mifid2ExecutionTrader mifid2ExecutionAlgo dontUseAutoPriceForHedge isOmsContainer"
    " discretionaryUpToLimitPrice usePriceMgmtAlgo duration postToAts autoCancelParent advancedErrorOverride"
    " manualOrderTime"
)


_TYPED = frozenset(
    _names(
        "action totalQuantity orderType lmtPrice auxPrice tif ocaGroup account orderRef transmit parentId triggerMethod"
        " outsideRth ocaType goodTillDate goodAfterTime allOrNone trailStopPrice trailingPercent lmtPriceOffset whatIf"
    )
)
"""Attributes that `OrderTerms` has fields for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderTerms:
    """An order as its client describes it; `None` is "not set"."""

    action: str
    quantity: Decimal | None
    order_type: str
    limit_price: Decimal | None = None
    aux_price: Decimal | None = None
    tif: str = ""
    oca_group: str = ""
    oca_type: int = 0
    account: str = ""
    order_ref: str = ""
    transmit: bool = True
    parent_id: int = 0
    trigger_method: int = 0
    outside_rth: bool = False
    good_till_date: str = ""
    good_after_time: str = ""
    all_or_none: bool = False
    trail_stop_price: Decimal | None = None
    trailing_percent: Decimal | None = None
    limit_price_offset: Decimal | None = None
    what_if: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Every other attribute that was not empty, by its TWS name, as the client wrote it."""
    combo_legs: tuple[tuple[str, ...], ...] = ()
    combo_leg_prices: tuple[str, ...] = ()
    routing_parameters: tuple[tuple[str, str], ...] = ()
    algo_parameters: tuple[tuple[str, str], ...] = ()
    delta_neutral_contract: tuple[str, ...] = ()
    conditions: tuple[tuple[str, ...], ...] = ()

    def sent(self, name: str) -> str:
        """An attribute as the client wrote it, empty when it did not."""
        return self.attributes.get(name, "")


def read_order_terms(reader: FieldReader, version: int, *, sec_type: str, exchange: str) -> OrderTerms:
    """Read placeOrder from its fourteenth field to the end.

    Raises:
        MalformedMessage: a field is missing, or one that the gateway uses cannot be read.
    """
    sent: dict[str, str] = {}

    def take(names: list[str]) -> None:
        sent.update(zip(names, reader.texts(len(names)), strict=True))

    def pairs() -> tuple[tuple[str, str], ...]:
        return tuple((reader.text(), reader.text()) for _ in range(reader.count()))

    take(_BEFORE_LEGS)
    legs: tuple[tuple[str, ...], ...] = ()
    leg_prices: tuple[str, ...] = ()
    routing: tuple[tuple[str, str], ...] = ()
    if sec_type == "BAG":
        legs = tuple(tuple(reader.texts(COMBO_LEG_FIELDS)) for _ in range(reader.count()))
        leg_prices = tuple(reader.texts(reader.count()))
        routing = pairs()
    reader.skip()  # an attribute that TWS dropped and kept the place of
    take(_BEFORE_MODEL)
    if version < FIRST_WITHOUT_FA_PROFILE:
        take(["faProfile"])
    take(_BEFORE_DELTA_NEUTRAL)
    if sent["deltaNeutralOrderType"]:
        take(DELTA_NEUTRAL_FIELDS)
    take(_BEFORE_SCALE)
    if scales(sent["scalePriceIncrement"]):
        take(SCALE_FIELDS)
    take(_BEFORE_HEDGE)
    if sent["hedgeType"]:
        take(["hedgeParam"])
    take(_BEFORE_ALGO)
    delta_neutral = tuple(reader.texts(3)) if reader.boolean() else ()
    take(["algoStrategy"])
    algo = pairs() if sent["algoStrategy"] else ()
    take(_BEFORE_PEG)
    if sent["orderType"] in PEG_BENCH:
        take(PEG_BENCH_FIELDS)
    conditions = _read_conditions(reader, sent)
    take(_TAIL)
    if exchange == "IBKRATS":
        take(["minTradeQty"])
    if sent["orderType"] in _PEG_BEST:
        take(["minCompeteSize", "competeAgainstBestOffset"])
        if is_infinite(sent["competeAgainstBestOffset"]):
            take(["midOffsetAtWhole", "midOffsetAtHalf"])
    elif sent["orderType"] in _PEG_MID:
        take(["midOffsetAtWhole", "midOffsetAtHalf"])
    return OrderTerms(
        action=sent["action"],
        quantity=parse_decimal(sent["totalQuantity"]),
        order_type=sent["orderType"],
        limit_price=parse_decimal(sent["lmtPrice"]),
        aux_price=parse_decimal(sent["auxPrice"]),
        tif=sent["tif"],
        oca_group=sent["ocaGroup"],
        oca_type=parse_integer(sent["ocaType"]) or 0,
        account=sent["account"],
        order_ref=sent["orderRef"],
        transmit=parse_boolean(sent["transmit"]),
        parent_id=parse_integer(sent["parentId"]) or 0,
        trigger_method=parse_integer(sent["triggerMethod"]) or 0,
        outside_rth=parse_boolean(sent["outsideRth"]),
        good_till_date=sent["goodTillDate"],
        good_after_time=sent["goodAfterTime"],
        all_or_none=parse_boolean(sent["allOrNone"]),
        trail_stop_price=parse_decimal(sent["trailStopPrice"]),
        trailing_percent=parse_decimal(sent["trailingPercent"]),
        limit_price_offset=parse_decimal(sent["lmtPriceOffset"]),
        what_if=parse_boolean(sent["whatIf"]),
        attributes=_shared(tuple((name, text) for name, text in sent.items() if text and name not in _TYPED)),
        combo_legs=legs,
        combo_leg_prices=leg_prices,
        routing_parameters=routing,
        algo_parameters=algo,
        delta_neutral_contract=delta_neutral,
        conditions=conditions,
    )


@lru_cache(maxsize=128)
def _shared(attributes: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """One mapping for all orders with the same attributes: clients send some sixty of them, nearly always alike."""
    return dict(attributes)


def scales(increment: str) -> bool:
    """Whether a scalePriceIncrement announces the seven scale fields after it."""
    value = parse_decimal(increment)
    return value is not None and value > 0


def _read_conditions(reader: FieldReader, sent: dict[str, str]) -> tuple[tuple[str, ...], ...]:
    conditions = []
    for _ in range(reader.count()):
        kind = reader.integer()
        if kind not in CONDITION_FIELDS:
            raise MalformedMessage(f"condition of type {kind}")
        conditions.append((str(kind), *reader.texts(1 + CONDITION_FIELDS[kind])))
    if conditions:
        names = ("conditionsIgnoreRth", "conditionsCancelOrder")
        sent.update(zip(names, reader.texts(2), strict=True))
    return tuple(conditions)
