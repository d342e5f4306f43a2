"""Every message the gateway sends, as the list of its fields (tws-wire guide, sections 4 to 10).

The layouts are those of server versions 176 to 178; `version` decides where they differ. Attributes that the gateway
does not understand are echoed as the client sent them; where it sent nothing, with what a live gateway prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TypeAlias

from ibkr_mcp_server.simulator.accounts import AccountValue, HoldingValue
from ibkr_mcp_server.simulator.instruments import Listing
from ibkr_mcp_server.simulator.market import Bar
from ibkr_mcp_server.simulator.order_terms import (
    DELTA_NEUTRAL_FIELDS,
    FIRST_WITHOUT_FA_PROFILE,
    PEG_BENCH,
    PEG_BENCH_FIELDS,
    SCALE_FIELDS,
    OrderTerms,
    scales,
)
from ibkr_mcp_server.simulator.orders import Execution, MarginChange, Order
from ibkr_mcp_server.simulator.tws_time import compact_utc, eastern
from ibkr_mcp_server.simulator.wire import UNSET_DOUBLE, UNSET_INTEGER, Field

Message: TypeAlias = Sequence[Field]

FIRST_WITH_PRICE_REVISION = 178
_NO_DELTA_NEUTRAL = "None"
"""What live gateways print for an order without one; it is not empty, so its section follows (section 10)."""
_PRICE_DIGITS = Decimal("0.00000001")


# --- session ---


def error(about: int, code: int, text: str) -> Message:
    return (4, 2, about, code, text, "")


def managed_accounts(codes: Iterable[str]) -> Message:
    return (15, 1, ",".join(codes))


def next_valid_id(order_id: int) -> Message:
    return (9, 1, order_id)


def current_time(now: datetime) -> Message:
    return (49, 1, int(now.timestamp()))


def user_info(req_id: int) -> Message:
    return (107, req_id, "")


# --- account ---


def account_value(row: AccountValue, account: str) -> Message:
    return (6, 2, row.tag, row.value, row.currency, account)


def account_value_multi(req_id: int, row: AccountValue, account: str, model_code: str) -> Message:
    return (73, 1, req_id, account, model_code, row.tag, row.value, row.currency)


def account_values_multi_end(req_id: int) -> Message:
    return (74, 1, req_id)


def account_time(now_text: str) -> Message:
    return (8, 1, now_text)


def account_download_end(account: str) -> Message:
    return (54, 1, account)


def account_summary(req_id: int, account: str, row: AccountValue) -> Message:
    return (63, 1, req_id, account, row.tag, row.value, row.currency)


def account_summary_end(req_id: int) -> Message:
    return (64, 1, req_id)


def portfolio_value(row: HoldingValue, account: str) -> Message:
    return (
        *(7, 8, *_contract_start(row.listing), row.listing.primary_exchange or row.listing.exchange),
        *(row.listing.currency, row.listing.local_symbol, row.listing.trading_class, row.quantity),
        *(_rounded(row.price), _rounded(row.market_value), _rounded(row.average_cost)),
        *(_rounded(row.unrealized), _rounded(row.realized), account),
    )


def position(listing: Listing, account: str, quantity: Decimal, average_cost: Decimal) -> Message:
    return (61, 3, account, *_held_contract(listing), quantity, _rounded(average_cost))


def positions_end() -> Message:
    return (62, 1)


def position_multi(
    req_id: int, listing: Listing, account: str, model_code: str, quantity: Decimal, average_cost: Decimal
) -> Message:
    return (71, 1, req_id, account, *_held_contract(listing), quantity, _rounded(average_cost), model_code)


def positions_multi_end(req_id: int) -> Message:
    return (72, 1, req_id)


def pnl(req_id: int, *, daily: Decimal, unrealized: Decimal, realized: Decimal) -> Message:
    return (94, req_id, _rounded(daily), _rounded(unrealized), _rounded(realized))


def pnl_single(req_id: int, row: HoldingValue | None) -> Message:
    if row is None:
        return (95, req_id, 0, *[UNSET_DOUBLE] * 4)
    amounts = (row.daily, row.unrealized, row.realized, row.market_value)
    return (95, req_id, row.quantity, *[_rounded(amount) for amount in amounts])


# --- reference data ---


def contract_data(req_id: int, listing: Listing, *, exchange: str, trading_hours: str, liquid_hours: str) -> Message:
    sec_ids = ("ISIN", listing.isin) if listing.isin else ()
    return (
        *(10, req_id, listing.symbol, listing.sec_type, listing.last_trade_date, listing.strike or 0, listing.right),
        *(exchange or listing.exchange, listing.currency, listing.local_symbol, listing.market_name),
        *(listing.trading_class, listing.con_id, listing.min_tick, listing.multiplier, listing.order_types),
        *(listing.valid_exchanges, listing.price_magnifier, listing.under_con_id),
        listing.long_name.replace("\\", "/"),  # `ib_async` un-escapes this field, a lone backslash would break it
        *(listing.primary_exchange, listing.contract_month, listing.industry, listing.category, listing.subcategory),
        *(listing.time_zone_id, trading_hours, liquid_hours, "", ""),
        *(len(sec_ids) // 2, *sec_ids),
        *(
            1,
            listing.under_symbol,
            listing.under_sec_type,
            listing.market_rule_ids,
            listing.last_trade_date,
            listing.stock_type,
        ),
        *(listing.min_size, listing.size_increment, listing.suggested_size_increment),
    )


def contract_data_end(req_id: int) -> Message:
    return (52, 1, req_id)


def symbol_samples(req_id: int, listings: Sequence[Listing]) -> Message:
    rows: list[Field] = []
    for listing in listings:
        rows += [listing.con_id, listing.symbol, listing.sec_type, listing.primary_exchange or listing.exchange]
        rows += [listing.currency, len(listing.derivatives), *listing.derivatives, listing.long_name, ""]
    return (79, req_id, len(listings), *rows)


def market_rule(rule_id: int, steps: Sequence[tuple[Decimal, Decimal]]) -> Message:
    return (93, rule_id, len(steps), *[field for step in steps for field in step])


def option_parameters_end(req_id: int) -> Message:
    return (76, req_id)


# --- market data ---


def tick_request_parameters(req_id: int, listing: Listing) -> Message:
    return (81, req_id, listing.min_tick, "9c0001" if listing.sec_type == "STK" else "", 3)


def market_data_type(req_id: int, kind: int) -> Message:
    return (58, 1, req_id, kind)


def tick_price(req_id: int, tick: int, price: Decimal, size: Decimal | None) -> Message:
    return (1, 6, req_id, tick, price, size if size is not None else 0, 1)


def tick_size(req_id: int, tick: int, size: Decimal) -> Message:
    return (2, 6, req_id, tick, size)


def tick_generic(req_id: int, tick: int, value: Decimal | int) -> Message:
    return (45, 6, req_id, tick, value)


def tick_string(req_id: int, tick: int, value: str) -> Message:
    return (46, 6, req_id, tick, value)


def tick_snapshot_end(req_id: int) -> Message:
    return (57, 1, req_id)


def historical_data(req_id: int, bars: Sequence[Bar], *, start: datetime, end: datetime, format_date: int) -> Message:
    rows: list[Field] = []
    for bar in bars:
        rows += [bar_date(bar.start, format_date), bar.open, bar.high, bar.low, bar.close]
        rows += [bar.volume, _rounded(bar.wap), bar.count]
    return (17, req_id, eastern(start), eastern(end), len(bars), *rows)


def historical_data_update(req_id: int, bar: Bar, *, format_date: int) -> Message:
    """The running bar; the order of its fields is not that of `historical_data` (section 7)."""
    return (
        *(90, req_id, bar.count, bar_date(bar.start, format_date)),
        *(bar.open, bar.close, bar.high, bar.low, _rounded(bar.wap), bar.volume),
    )


def bar_date(start: datetime | date, format_date: int) -> str:
    if not isinstance(start, datetime):
        return f"{start:%Y%m%d}"
    return str(int(start.timestamp())) if format_date == 2 else eastern(start)


def historical_schedule(req_id: int, zone: str, sessions: Sequence[tuple[datetime, datetime, date]]) -> Message:
    rows = [field for start, end, day in sessions for field in (_local_dash(start), _local_dash(end), f"{day:%Y%m%d}")]
    first, last = (rows[0], rows[-2]) if rows else ("", "")
    return (106, req_id, first, last, zone, len(sessions), *rows)


def _local_dash(moment: datetime) -> str:
    return f"{moment:%Y%m%d-%H:%M:%S}"


def head_timestamp(req_id: int, moment: datetime, format_date: int) -> Message:
    return (88, req_id, str(int(moment.timestamp())) if format_date == 2 else compact_utc(moment))


# --- orders ---


def order_status(order: Order, parent_id: int) -> Message:
    return (
        *(3, order.order_id, order.status, order.filled, order.remaining, _rounded(order.average_fill_price)),
        *(order.perm_id, parent_id, order.last_fill_price, order.client_id, order.why_held, 0),
    )


def order_bound(order: Order) -> Message:
    return (100, order.perm_id, order.client_id, order.order_id)


def open_orders_end() -> Message:
    return (53, 1)


def completed_orders_end() -> Message:
    return (102,)


def executions_end(req_id: int) -> Message:
    return (55, 1, req_id)


def execution_details(req_id: int, fill: Execution, listing: Listing, version: int) -> Message:
    return (
        *(11, req_id, fill.order_id, *_contract_start(listing), fill.exchange, listing.currency),
        *(listing.local_symbol, listing.trading_class, fill.exec_id, eastern(fill.time), fill.account, fill.exchange),
        *("BOT" if fill.is_buy else "SLD", fill.quantity, fill.price, fill.perm_id, fill.client_id, 0),
        *(fill.cumulative_quantity, _rounded(fill.average_price), fill.order_ref, "", "", ""),
        1 if fill.added_liquidity else 2,
        *((0,) if version >= FIRST_WITH_PRICE_REVISION else ()),
    )


def commission_report(fill: Execution) -> Message:
    realized = UNSET_DOUBLE if fill.realized_pnl is None else _rounded(fill.realized_pnl)
    return (59, 1, fill.exec_id, fill.commission, fill.commission_currency, realized, UNSET_DOUBLE, "")


def open_order(
    order: Order, listing: Listing, version: int, *, parent_id: int, what_if: MarginChange | None = None
) -> Message:
    """openOrder; `parent_id` is the parent's order id, since clients do not know permIds of orders they just sent."""
    terms = order.terms
    get = _Attributes(terms)
    return (
        *(5, order.order_id, *_order_contract(order, listing)),
        *(terms.action, order.quantity, terms.order_type, *_prices(order), order.tif, order.oca_group, order.account),
        *(get("openClose"), get("origin", "0"), terms.order_ref, order.client_id, order.perm_id),
        *(terms.outside_rth, get("hidden", "0"), get("discretionaryAmt", "0"), get("goodAfterTime"), ""),
        *(get("faGroup"), get("faMethod"), get("faPercentage"), *_fa_profile(get, version)),
        *(get("modelCode"), terms.good_till_date, get("rule80A"), get("percentOffset"), get("settlingFirm")),
        *(get("shortSaleSlot", "0"), get("designatedLocation"), get("exemptCode", "-1"), get("auctionStrategy", "0")),
        *(get("startingPrice"), get("stockRefPrice"), get("delta"), get("stockRangeLower"), get("stockRangeUpper")),
        *(get("displaySize", str(UNSET_INTEGER)), get("blockOrder", "0"), get("sweepToFill", "0"), terms.all_or_none),
        *(get("minQty"), order.oca_type or 3, get("eTradeOnly", "0"), get("firmQuoteOnly", "0"), get("nbboPriceCap")),
        *(parent_id, terms.trigger_method, get("volatility"), get("volatilityType", "0")),
        *_delta_neutral_order(get, DELTA_NEUTRAL_FIELDS, ("0", "", "", "", "?", "0", "0", "")),
        *(get("continuousUpdate", "0"), get("referencePriceType", "0"), _trail_stop(order), terms.trailing_percent),
        *("", "", "", *_legs(terms)),
        *(*_scale(get), *_hedge(get), get("optOutSmartRouting", "0"), get("clearingAccount")),
        *(get("clearingIntent", "IB"), get("notHeld", "0"), *_delta_neutral_contract(terms), *_algo(get, terms)),
        *(get("solicited", "0"), what_if is not None, order.status, *_margins(what_if), ""),
        *(get("randomizeSize", "0"), get("randomizePrice", "0"), *_peg_bench(get, terms), *_conditions(get, terms)),
        *(get("adjustedOrderType", "None"), get("triggerPrice", UNSET_DOUBLE), _trail_stop(order) or UNSET_DOUBLE),
        *(terms.limit_price_offset if terms.limit_price_offset is not None else UNSET_DOUBLE,),
        *(get("adjustedStopPrice", UNSET_DOUBLE), get("adjustedStopLimitPrice", UNSET_DOUBLE)),
        *(get("adjustedTrailingAmount", UNSET_DOUBLE), get("adjustableTrailingUnit", "0")),
        *(get("softDollarTierName"), get("softDollarTierValue"), "", get("cashQty", "0")),
        *(get("dontUseAutoPriceForHedge", "1"), get("isOmsContainer", "0"), get("discretionaryUpToLimitPrice", "0")),
        *(get("usePriceMgmtAlgo", "0"), get("duration"), get("postToAts", str(UNSET_INTEGER))),
        *(get("autoCancelParent", "0"), *_peg_tail(get)),
    )


def completed_order(order: Order, listing: Listing, version: int) -> Message:
    """completedOrder, which carries neither order id nor client id (section 10)."""
    terms = order.terms
    get = _Attributes(terms)
    return (
        *(101, *_order_contract(order, listing)),
        *(terms.action, order.quantity, terms.order_type, *_prices(order), order.tif, order.oca_group, order.account),
        *(get("openClose"), get("origin", "0"), terms.order_ref, order.perm_id, terms.outside_rth, get("hidden", "0")),
        *(get("discretionaryAmt", "0"), get("goodAfterTime"), get("faGroup"), get("faMethod"), get("faPercentage")),
        *(*_fa_profile(get, version), get("modelCode"), terms.good_till_date, get("rule80A"), get("percentOffset")),
        *(get("settlingFirm"), get("shortSaleSlot", "0"), get("designatedLocation"), get("exemptCode", "-1")),
        *(get("startingPrice"), get("stockRefPrice"), get("delta"), get("stockRangeLower"), get("stockRangeUpper")),
        *(get("displaySize", str(UNSET_INTEGER)), get("sweepToFill", "0"), terms.all_or_none, get("minQty")),
        *(order.oca_type or 3, terms.trigger_method, get("volatility"), get("volatilityType", "0")),
        *_delta_neutral_order(
            get,
            [name for name in DELTA_NEUTRAL_FIELDS if name.endswith(("ConId", "ShortSale", "Slot", "Location"))],
            ("0", "0", "0", ""),
        ),
        *(get("continuousUpdate", "0"), get("referencePriceType", "0"), _trail_stop(order), terms.trailing_percent),
        *("", *_legs(terms), *_scale(get), *_hedge(get), get("clearingAccount"), get("clearingIntent", "IB")),
        *(get("notHeld", "0"), *_delta_neutral_contract(terms), *_algo(get, terms), get("solicited", "0")),
        *(order.status, get("randomizeSize", "0"), get("randomizePrice", "0"), *_peg_bench(get, terms)),
        *(*_conditions(get, terms), _trail_stop(order) or UNSET_DOUBLE),
        *(terms.limit_price_offset if terms.limit_price_offset is not None else UNSET_DOUBLE, get("cashQty", "0")),
        *(get("dontUseAutoPriceForHedge", "1"), get("isOmsContainer", "0"), "", order.filled, UNSET_INTEGER),
        *(get("autoCancelParent", "0"), "Not an insider or substantial shareholder", 0, 0),
        *(order.parent_perm_id, eastern(order.done_at or order.placed_at), order.done_because, *_peg_tail(get)),
    )


class _Attributes:
    """The attributes as the client sent them, each with what a gateway prints where it sent none."""

    def __init__(self, terms: OrderTerms) -> None:
        self._terms = terms

    def __call__(self, name: str, empty: str = "") -> str:
        return self._terms.sent(name) or empty


def _contract_start(listing: Listing) -> Message:
    return (
        *(listing.con_id, listing.symbol, listing.sec_type, listing.last_trade_date),
        *(listing.strike or 0, listing.right, listing.multiplier),
    )


def _held_contract(listing: Listing) -> Message:
    venue = listing.primary_exchange or listing.exchange
    return (*_contract_start(listing), venue, listing.currency, listing.local_symbol, listing.trading_class)


def _order_contract(order: Order, listing: Listing) -> Message:
    return (
        *_contract_start(listing),
        *(order.exchange, listing.currency, listing.local_symbol, listing.trading_class),
    )


def _prices(order: Order) -> Message:
    """Limit and auxiliary price; TWS prints nought for the ones an order type does not have.

    A pegged order's limit is the cap that its client gave; clients send back what they are told here.
    """
    pegged = order.terms.order_type in ("REL", "MIDPRICE")
    limit = order.terms.limit_price if pegged or order.limit_price is None else order.limit_price
    return (limit if limit is not None else 0, order.terms.aux_price if order.terms.aux_price is not None else 0)


def _trail_stop(order: Order) -> Decimal | None:
    return order.stop_price if order.terms.order_type.startswith("TRAIL") else order.terms.trail_stop_price


def _fa_profile(get: _Attributes, version: int) -> Message:
    return (get("faProfile"),) if version < FIRST_WITHOUT_FA_PROFILE else ()


def _delta_neutral_order(get: _Attributes, names: Sequence[str], empty: Sequence[str]) -> Message:
    kind = get("deltaNeutralOrderType", _NO_DELTA_NEUTRAL)
    section = [get(name, default) for name, default in zip(names, empty, strict=True)]
    return (kind, get("deltaNeutralAuxPrice"), *section)


def _legs(terms: OrderTerms) -> Message:
    return (
        *_counted(terms.combo_legs),
        *_counted([(price,) for price in terms.combo_leg_prices]),
        *_counted(terms.routing_parameters),
    )


def _counted(rows: Sequence[Sequence[str]]) -> Message:
    return (len(rows), *[field for row in rows for field in row])


def _scale(get: _Attributes) -> Message:
    increment = get("scalePriceIncrement")
    section = [get(name) for name in SCALE_FIELDS] if scales(increment) else []
    unset = str(UNSET_INTEGER)
    return (get("scaleInitLevelSize", unset), get("scaleSubsLevelSize", unset), increment, *section)


def _hedge(get: _Attributes) -> Message:
    return (get("hedgeType"), get("hedgeParam")) if get("hedgeType") else ("",)


def _delta_neutral_contract(terms: OrderTerms) -> Message:
    return (1, *terms.delta_neutral_contract) if terms.delta_neutral_contract else (0,)


def _algo(get: _Attributes, terms: OrderTerms) -> Message:
    strategy = get("algoStrategy")
    if not strategy:
        return ("",)
    return (strategy, *_counted(terms.algo_parameters))


def _margins(change: MarginChange | None) -> Message:
    """Nine margins, three commissions and their currency."""
    if change is None:
        return (*[UNSET_DOUBLE] * 9, "", "", "", "")
    return (
        *(change.initial_before, change.maintenance_before, change.equity_before),
        *(change.initial_after - change.initial_before, change.maintenance_after - change.maintenance_before),
        *(change.equity_after - change.equity_before, change.initial_after, change.maintenance_after),
        *(change.equity_after, change.commission, "", "", change.currency),
    )


def _peg_bench(get: _Attributes, terms: OrderTerms) -> Message:
    return [get(name) for name in PEG_BENCH_FIELDS] if terms.order_type in PEG_BENCH else ()


def _conditions(get: _Attributes, terms: OrderTerms) -> Message:
    if not terms.conditions:
        return (0,)
    return (*_counted(terms.conditions), get("conditionsIgnoreRth", "0"), get("conditionsCancelOrder", "0"))


def _peg_tail(get: _Attributes) -> Message:
    names = ("minTradeQty", "minCompeteSize", "competeAgainstBestOffset", "midOffsetAtWhole", "midOffsetAtHalf")
    return [get(name) for name in names]


def _rounded(amount: Decimal) -> Decimal:
    """Quotients have as many digits as `Decimal` cares to give; eight after the point are more than TWS prints."""
    return amount.quantize(_PRICE_DIGITS, rounding=ROUND_HALF_EVEN)
