"""The closed list of reasons for which a request may be refused.

Every code has a meaning and a remedy; the table is printed into `docs/refusals.md`. A remedy never tells how to get
around a limit: it says what a caller may do, or whom to ask.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ibkr_mcp_server.domain.operations import Problem


class Code(StrEnum):
    """Why a request was refused."""

    # the switches
    KILL_SWITCH_ACTIVE = "KILL_SWITCH_ACTIVE"
    STATE_UNREADABLE = "STATE_UNREADABLE"
    STATE_CHANGED = "STATE_CHANGED"
    STARTING = "STARTING"
    LINK_DOWN = "LINK_DOWN"
    RESTART_WINDOW = "RESTART_WINDOW"
    SESSION_OVER = "SESSION_OVER"
    SERVER_ENDING = "SERVER_ENDING"
    STOP_KEY_UNREADABLE = "STOP_KEY_UNREADABLE"
    RECONCILING = "RECONCILING"
    RECORDS_DISAGREE = "RECORDS_DISAGREE"
    INVARIANT_BROKEN = "INVARIANT_BROKEN"
    UNCLEAN_STOP = "UNCLEAN_STOP"
    CIRCUIT_BREAKER_OPEN = "CIRCUIT_BREAKER_OPEN"
    RISK_UNKNOWN = "RISK_UNKNOWN"
    ALERTS_UNREACHABLE = "ALERTS_UNREACHABLE"
    RISK_REDUCED = "RISK_REDUCED"
    RECOVERY_STAGE = "RECOVERY_STAGE"
    PAPER_STAGE = "PAPER_STAGE"
    SAFE_MODE = "SAFE_MODE"
    TRADING_DISABLED = "TRADING_DISABLED"
    FOREX_DISABLED = "FOREX_DISABLED"
    INTERNATIONAL_DISABLED = "INTERNATIONAL_DISABLED"
    STOP_LOSS_DISABLED = "STOP_LOSS_DISABLED"
    LIVE_TRADING_LOCKED = "LIVE_TRADING_LOCKED"
    PROTECTIVE_ORDER = "PROTECTIVE_ORDER"
    ORDER_EFFICIENCY = "ORDER_EFFICIENCY"
    # time
    OUTSIDE_REGULAR_HOURS = "OUTSIDE_REGULAR_HOURS"
    HOURS_UNKNOWN = "HOURS_UNKNOWN"
    WEEKEND = "WEEKEND"
    SESSION_EDGE = "SESSION_EDGE"
    # limits
    NOT_THE_WRITER = "NOT_THE_WRITER"
    RATE_LIMIT = "RATE_LIMIT"
    DAILY_LIMIT = "DAILY_LIMIT"
    AGENT_THROTTLED = "AGENT_THROTTLED"
    AGENT_ORDER_LIMIT = "AGENT_ORDER_LIMIT"
    ACCOUNT_READ_LIMIT = "ACCOUNT_READ_LIMIT"
    MODIFICATION_LIMIT = "MODIFICATION_LIMIT"
    MARKET_DATA_LIMIT = "MARKET_DATA_LIMIT"
    TOO_MANY_SYMBOLS = "TOO_MANY_SYMBOLS"
    # accounts
    ACCOUNT_UNVERIFIED = "ACCOUNT_UNVERIFIED"
    ACCOUNT_NOT_ACCEPTED = "ACCOUNT_NOT_ACCEPTED"
    ACCOUNT_NOT_SERVED = "ACCOUNT_NOT_SERVED"
    # the request itself
    UNKNOWN_TOOL = "UNKNOWN_TOOL"
    UNKNOWN_ARGUMENT = "UNKNOWN_ARGUMENT"
    INVALID_ARGUMENTS = "INVALID_ARGUMENTS"
    INVALID_SYMBOL = "INVALID_SYMBOL"
    CONTRACT_NOT_FOUND = "CONTRACT_NOT_FOUND"
    CONTRACT_AMBIGUOUS = "CONTRACT_AMBIGUOUS"
    CONTRACT_RULES_UNKNOWN = "CONTRACT_RULES_UNKNOWN"
    NOT_TRADABLE = "NOT_TRADABLE"
    INVALID_SIDE = "INVALID_SIDE"
    INVALID_QUANTITY = "INVALID_QUANTITY"
    QUANTITY_STEP = "QUANTITY_STEP"
    INVALID_PRICE = "INVALID_PRICE"
    PRICE_TICK = "PRICE_TICK"
    PRICE_MISSING = "PRICE_MISSING"
    PRICE_NOT_EXPECTED = "PRICE_NOT_EXPECTED"
    ORDER_TYPE_NOT_ALLOWED = "ORDER_TYPE_NOT_ALLOWED"
    ORDER_TYPE_UNSUPPORTED = "ORDER_TYPE_UNSUPPORTED"
    ORDER_INCOMPLETE = "ORDER_INCOMPLETE"
    TIME_IN_FORCE_NOT_ALLOWED = "TIME_IN_FORCE_NOT_ALLOWED"
    GOOD_TILL_DATE = "GOOD_TILL_DATE"
    STOP_ON_WRONG_SIDE = "STOP_ON_WRONG_SIDE"
    BRACKET_PRICES = "BRACKET_PRICES"
    TAKE_PROFIT_EDGE = "TAKE_PROFIT_EDGE"
    NOTHING_TO_CHANGE = "NOTHING_TO_CHANGE"
    ORDER_NOT_FOUND = "ORDER_NOT_FOUND"
    ORDER_NOT_WORKING = "ORDER_NOT_WORKING"
    NOT_OUR_ORDER = "NOT_OUR_ORDER"
    NOT_A_STOP_ORDER = "NOT_A_STOP_ORDER"
    NO_POSITION = "NO_POSITION"
    ALREADY_CLOSING = "ALREADY_CLOSING"
    WOULD_OPEN = "WOULD_OPEN"
    # size, price and value
    ORDER_SIZE_LIMIT = "ORDER_SIZE_LIMIT"
    ORDER_VALUE_LIMIT = "ORDER_VALUE_LIMIT"
    ORDER_VALUE_UNKNOWN = "ORDER_VALUE_UNKNOWN"
    NO_REFERENCE_PRICE = "NO_REFERENCE_PRICE"
    NO_LIVE_DATA = "NO_LIVE_DATA"
    PRICE_COLLAR = "PRICE_COLLAR"
    COOLDOWN = "COOLDOWN"
    CYCLE_VALUE_LIMIT = "CYCLE_VALUE_LIMIT"
    DAILY_VALUE_LIMIT = "DAILY_VALUE_LIMIT"
    WORKING_ORDERS_LIMIT = "WORKING_ORDERS_LIMIT"
    STOP_LOSS_ORDERS_LIMIT = "STOP_LOSS_ORDERS_LIMIT"
    SELF_MATCH = "SELF_MATCH"
    ILLIQUID = "ILLIQUID"
    IMPLAUSIBLE_QUOTE = "IMPLAUSIBLE_QUOTE"
    PRICE_WALK = "PRICE_WALK"
    REPEATED_ORDER = "REPEATED_ORDER"
    # the portfolio
    EQUITY_UNKNOWN = "EQUITY_UNKNOWN"
    NO_EQUITY = "NO_EQUITY"
    EXPOSURE_UNKNOWN = "EXPOSURE_UNKNOWN"
    POSITION_SIZE_LIMIT = "POSITION_SIZE_LIMIT"
    POSITION_VALUE_LIMIT = "POSITION_VALUE_LIMIT"
    EXPOSURE_PCT_LIMIT = "EXPOSURE_PCT_LIMIT"
    EXPOSURE_VALUE_LIMIT = "EXPOSURE_VALUE_LIMIT"
    STRATEGY_LIMIT = "STRATEGY_LIMIT"
    POSITIONS_LIMIT = "POSITIONS_LIMIT"
    SECTOR_LIMIT = "SECTOR_LIMIT"
    LEVERAGE_LIMIT = "LEVERAGE_LIMIT"
    INSTRUMENT_NOT_LISTED = "INSTRUMENT_NOT_LISTED"
    SHORT_NOT_ALLOWED = "SHORT_NOT_ALLOWED"
    BORROW_UNKNOWN = "BORROW_UNKNOWN"
    BORROW_UNAVAILABLE = "BORROW_UNAVAILABLE"
    MARGIN_UNKNOWN = "MARGIN_UNKNOWN"
    MARGIN_LIMIT = "MARGIN_LIMIT"
    CASH_UNKNOWN = "CASH_UNKNOWN"
    CASH_RESERVE = "CASH_RESERVE"
    CAPITAL_AT_RISK = "CAPITAL_AT_RISK"
    # idempotency and unknown outcomes
    IDEMPOTENCY_MISMATCH = "IDEMPOTENCY_MISMATCH"
    IN_PROGRESS = "IN_PROGRESS"
    UNRESOLVED_ORDER = "UNRESOLVED_ORDER"
    # confirmation
    CONFIRMATION_REQUIRED = "CONFIRMATION_REQUIRED"
    PENDING_CONFIRMATION = "PENDING_CONFIRMATION"
    CONFIRMATION_DENIED = "CONFIRMATION_DENIED"
    CONFIRMATION_LIMIT = "CONFIRMATION_LIMIT"
    TICKET_UNKNOWN = "TICKET_UNKNOWN"
    TICKET_USED = "TICKET_USED"
    TICKET_EXPIRED = "TICKET_EXPIRED"
    TICKET_VOID = "TICKET_VOID"
    # the chain and the broker
    CHECK_ERROR = "CHECK_ERROR"
    DECISION_TIMEOUT = "DECISION_TIMEOUT"
    RECORD_FAILED = "RECORD_FAILED"
    BROKER_UNAVAILABLE = "BROKER_UNAVAILABLE"
    BROKER_TIMEOUT = "BROKER_TIMEOUT"
    BROKER_OFFLINE = "BROKER_OFFLINE"
    BROKER_PACING = "BROKER_PACING"
    BROKER_REFUSED = "BROKER_REFUSED"
    BROKER_REJECTED = "BROKER_REJECTED"
    BRACKET_INCOMPLETE = "BRACKET_INCOMPLETE"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    ACCOUNT_ECHO_MISMATCH = "ACCOUNT_ECHO_MISMATCH"
    NO_MARKET_DATA = "NO_MARKET_DATA"
    NO_QUOTE = "NO_QUOTE"
    INTERNAL_ERROR = "INTERNAL_ERROR"


@dataclass(frozen=True, kw_only=True)
class CodeText:
    """What a code means and what its reader may do."""

    meaning: str
    remedy: str


CODES: dict[Code, CodeText] = {
    Code.KILL_SWITCH_ACTIVE: CodeText(
        meaning="The kill switch is on: no opening order passes on any path.",
        remedy="Do not retry. Cancelling entries and verified reductions still work. Only a person can reset it, with "
        "`ibkr-mcp-server reset`.",
    ),
    Code.STATE_UNREADABLE: CodeText(
        meaning="The durable safety state cannot be read, which counts as stopped.",
        remedy="Tell the operator: the state directory needs attention (`ibkr-mcp-server status --safety`).",
    ),
    Code.STATE_CHANGED: CodeText(
        meaning="Between the approval and the send the safety state became stricter; nothing was sent.",
        remedy="Ask get_safety_status what changed before you try again.",
    ),
    Code.STARTING: CodeText(
        meaning="The server is still starting or reconciling with the broker.",
        remedy="Try again after a moment; get_connection_status tells how far it is.",
    ),
    Code.LINK_DOWN: CodeText(
        meaning="There is no usable link to the broker.",
        remedy="Call get_connection_status: it says what is missing and how to repair it.",
    ),
    Code.SERVER_ENDING: CodeText(
        meaning="The server was told to end; what is being sent is finished and nothing more is taken in.",
        remedy="Call again once the server has been started anew.",
    ),
    Code.STOP_KEY_UNREADABLE: CodeText(
        meaning="Trading can be stopped by a key in Redis, and Redis does not answer; nothing is opened meanwhile.",
        remedy="Tell the operator that Redis cannot be reached. It ends by itself; reductions and cancels work.",
    ),
    Code.RECONCILING: CodeText(
        meaning="The link came back, and the broker's records are being compared with ours.",
        remedy="Try again after a moment.",
    ),
    Code.RECORDS_DISAGREE: CodeText(
        meaning="The broker's positions or orders differ from what its own fills and our records explain.",
        remedy="Tell the operator what the message names. It ends when a fill explains the difference, or "
        "when a person accepts the broker's figures.",
    ),
    Code.INVARIANT_BROKEN: CodeText(
        meaning="Something that must be true of an account before trading is not.",
        remedy="Tell the operator what the message names; it is looked at again every half minute.",
    ),
    Code.UNCLEAN_STOP: CodeText(
        meaning="The run before did not end in order, and the broker's records have not been found in agreement since.",
        remedy="Try again after a moment; get_safety_status tells what is missing.",
    ),
    Code.SESSION_OVER: CodeText(
        meaning="Servers have run for so long that a person must look before anything more is opened.",
        remedy="Tell the user to run `ibkr-mcp-server rearm`. Exits and cancels of entries still work.",
    ),
    Code.RESTART_WINDOW: CodeText(
        meaning="IBKR or the gateway restarts at this time of the night; nothing is opened.",
        remedy="Wait for the end of the window that the message names. Cancels and reductions still work.",
    ),
    Code.CIRCUIT_BREAKER_OPEN: CodeText(
        meaning="The circuit breaker is open: a loss or a fault went beyond its limit. Nothing is opened; reductions, "
        "stops and cancels of entries still work.",
        remedy="Tell the user; only the operator can reset it, with `ibkr-mcp-server breaker-reset`.",
    ),
    Code.RISK_UNKNOWN: CodeText(
        meaning="The risk has not been judged for a while, because the equity is not known or the watch is silent.",
        remedy="Wait; it ends by itself when the figures are back. Reductions still work.",
    ),
    Code.ALERTS_UNREACHABLE: CodeText(
        meaning="A critical alert reaches nobody: all channels of alerts fail.",
        remedy="Tell the operator: `ibkr-mcp-server test-alert` shows what is wrong. It ends when an alert arrives.",
    ),
    Code.RISK_REDUCED: CodeText(
        meaning="A figure of the risk is above its warning, so the size limits are reduced.",
        remedy="Stay within the reduced `limit`. It ends by itself when all figures have been calm for a while.",
    ),
    Code.RECOVERY_STAGE: CodeText(
        meaning="Trading comes back in stages after a loss, with reduced size limits.",
        remedy="Stay within the reduced `limit`; only the operator can promote the stage.",
    ),
    Code.PAPER_STAGE: CodeText(
        meaning="The first stage after a loss: what opens is decided and recorded, and not sent to a real broker.",
        remedy="Go on as usual; results say `dry_run`. Only the operator can promote the stage.",
    ),
    Code.SAFE_MODE: CodeText(
        meaning="Safe mode is configured: no order may be placed or changed.",
        remedy="Only the operator can change it (IBKR_SAFE_MODE), by restarting the server.",
    ),
    Code.TRADING_DISABLED: CodeText(
        meaning="Trading is not enabled.",
        remedy="Only the operator can enable it (IBKR_ENABLE_TRADING), by restarting the server.",
    ),
    Code.FOREX_DISABLED: CodeText(
        meaning="Foreign exchange orders are not enabled.",
        remedy="Only the operator can enable them (IBKR_ENABLE_FOREX_TRADING), by restarting the server.",
    ),
    Code.INTERNATIONAL_DISABLED: CodeText(
        meaning="Orders in listings outside the US or in other currencies are not enabled.",
        remedy="Only the operator can enable them (IBKR_ENABLE_INTERNATIONAL_TRADING), by restarting the server.",
    ),
    Code.STOP_LOSS_DISABLED: CodeText(
        meaning="Placing stop orders is not enabled; listing and cancelling existing ones is.",
        remedy="Only the operator can enable it (IBKR_ENABLE_STOP_LOSS_ORDERS), by restarting the server.",
    ),
    Code.LIVE_TRADING_LOCKED: CodeText(
        meaning="The account is live and not every lock of live trading is open.",
        remedy="Only the operator can open them; `ibkr-mcp-server config check` names the ones that are closed.",
    ),
    Code.PROTECTIVE_ORDER: CodeText(
        meaning="The order protects a position; in this state an agent may neither cancel nor weaken it.",
        remedy="Ask the operator; the protection stays in place.",
    ),
    Code.ORDER_EFFICIENCY: CodeText(
        meaning="The broker got many messages about orders and few of them traded; nothing more is opened today.",
        remedy="Leave working orders alone: it ends when one of them trades, or with the trading day (17:00 New York "
        "time). Cancels and reductions still work.",
    ),
    Code.OUTSIDE_REGULAR_HOURS: CodeText(
        meaning="Opening orders, and market orders of any kind, are accepted only in the regular hours of the "
        "instrument's exchange.",
        remedy="Wait for the regular session. A limit order that reduces a position is not held back.",
    ),
    Code.HOURS_UNKNOWN: CodeText(
        meaning="The broker does not tell when the instrument's exchange trades, which counts as closed.",
        remedy="Try again later; cancels and reducing limit orders are not held back.",
    ),
    Code.WEEKEND: CodeText(
        meaning="It is Saturday or Sunday at the instrument's exchange; nothing is opened.",
        remedy="Wait for the week to begin. Cancels and reducing limit orders are not held back.",
    ),
    Code.SESSION_EDGE: CodeText(
        meaning="Regular hours have only just begun or are about to end; nothing is opened.",
        remedy="Wait for `retry_after_s`. Cancels and reductions still work.",
    ),
    Code.NOT_THE_WRITER: CodeText(
        meaning="Another process on the same state directory trades for this account; this one only reads.",
        remedy="Use the server that `error` names, or end it: this one then takes over by itself.",
    ),
    Code.RATE_LIMIT: CodeText(
        meaning="The number of opening orders in a rolling minute is used up.",
        remedy="Wait for `retry_after_s`; repeating sooner changes nothing.",
    ),
    Code.DAILY_LIMIT: CodeText(
        meaning="The number of opening orders of this trading day is used up.",
        remedy="Wait for the next trading day (17:00 New York time). Cancels and reductions still work.",
    ),
    Code.AGENT_THROTTLED: CodeText(
        meaning="This agent called tools more often than it may, refused calls included, and is in timeout.",
        remedy="Stop calling, look for a loop, and wait for `retry_after_s`. Cancelling, stopping and "
        "get_safety_status still work.",
    ),
    Code.AGENT_ORDER_LIMIT: CodeText(
        meaning="The operator gave this agent tighter limits than all have, and one of them is reached.",
        remedy="Wait for `retry_after_s` where it is told, or ask for a smaller order.",
    ),
    Code.ACCOUNT_READ_LIMIT: CodeText(
        meaning="The number of reads of account and orders in a rolling minute is used up.",
        remedy="Wait for `retry_after_s`; get_safety_status is not limited.",
    ),
    Code.MODIFICATION_LIMIT: CodeText(
        meaning="The number of changes of working orders in a rolling minute is used up.",
        remedy="Wait for `retry_after_s`, or cancel the order: cancelling is never limited.",
    ),
    Code.MARKET_DATA_LIMIT: CodeText(
        meaning="The number of quotes in a rolling minute is used up; each symbol counts.",
        remedy="Wait for `retry_after_s`, or ask for fewer symbols.",
    ),
    Code.TOO_MANY_SYMBOLS: CodeText(
        meaning="One call may ask for at most 50 symbols.", remedy="Split the request; each symbol counts as one."
    ),
    Code.ACCOUNT_UNVERIFIED: CodeText(
        meaning="The broker has not confirmed recently which accounts this link serves.",
        remedy="Try again; if it persists, get_connection_status tells why the broker does not answer.",
    ),
    Code.ACCOUNT_NOT_ACCEPTED: CodeText(
        meaning="This link serves an account that may not be traded under this configuration; all writes are blocked.",
        remedy="Tell the operator which account was found; reading stays possible.",
    ),
    Code.ACCOUNT_NOT_SERVED: CodeText(
        meaning="The broker does not list the account that was asked for.",
        remedy="Choose one that get_accounts lists (if two end alike, name it in full), or leave the account out.",
    ),
    Code.UNKNOWN_TOOL: CodeText(meaning="There is no tool of this name.", remedy="Use a name that tools/list shows."),
    Code.UNKNOWN_ARGUMENT: CodeText(
        meaning="The tool has no argument of this name; it was not ignored.",
        remedy="Remove it or use an argument that the tool's schema names.",
    ),
    Code.INVALID_ARGUMENTS: CodeText(
        meaning="An argument is missing, has the wrong type or lies outside its range.",
        remedy="Correct the arguments named in `details`.",
    ),
    Code.INVALID_SYMBOL: CodeText(
        meaning="The text cannot be a symbol.",
        remedy="Use forms like AAPL, EUR.USD or SYMBOL.EXCHANGE.CURRENCY, upper case.",
    ),
    Code.CONTRACT_NOT_FOUND: CodeText(
        meaning="The broker knows no such contract.", remedy="Search with resolve_symbol and use what it returns."
    ),
    Code.CONTRACT_AMBIGUOUS: CodeText(
        meaning="Several contracts fit; none was chosen.",
        remedy="Name one of the candidates in `details`, as SYMBOL.EXCHANGE.CURRENCY or by con_id.",
    ),
    Code.CONTRACT_RULES_UNKNOWN: CodeText(
        meaning="The broker did not tell a rule of the contract that the order must be checked against.",
        remedy="Try again later; an order that cannot be checked is never sent.",
    ),
    Code.NOT_TRADABLE: CodeText(
        meaning="What was named has a price and cannot be bought or sold, such as an index.",
        remedy="Name an instrument that follows it: a fund, a future or an option.",
    ),
    Code.INVALID_SIDE: CodeText(meaning="The side must be exactly BUY or SELL.", remedy="Use BUY or SELL."),
    Code.INVALID_QUANTITY: CodeText(
        meaning="The quantity must be a finite number above zero.", remedy="Give a positive quantity."
    ),
    Code.QUANTITY_STEP: CodeText(
        meaning="The quantity is not a whole multiple of the contract's step, or below its minimum.",
        remedy="Use a multiple of the step in `limit`.",
    ),
    Code.INVALID_PRICE: CodeText(
        meaning="A price must be a finite number above zero.", remedy="Give a positive price."
    ),
    Code.PRICE_TICK: CodeText(
        meaning="The price does not lie on the contract's price grid.",
        remedy="Use one of the neighbouring prices named in the message.",
    ),
    Code.PRICE_MISSING: CodeText(
        meaning="This order type needs a price that was not given.", remedy="Give the price named in the message."
    ),
    Code.PRICE_NOT_EXPECTED: CodeText(
        meaning="A price was given that this order type does not have.",
        remedy="Leave it out, or choose the order type that has it.",
    ),
    Code.ORDER_TYPE_NOT_ALLOWED: CodeText(
        meaning="The order type is not in the allowed list.", remedy="Use a type named in `limit`."
    ),
    Code.ORDER_TYPE_UNSUPPORTED: CodeText(
        meaning="This product cannot say such an order to the broker; nothing was sent.",
        remedy="Use an order type that the tool's schema names.",
    ),
    Code.ORDER_INCOMPLETE: CodeText(
        meaning="The order lacks something that its type needs; nothing was sent.",
        remedy="Give what the message names.",
    ),
    Code.TIME_IN_FORCE_NOT_ALLOWED: CodeText(
        meaning="The time in force is not allowed for this order, or does not go with its type. Only protective orders "
        "may outlive the trading day.",
        remedy="Use a time in force named in `limit`; entries are DAY orders.",
    ),
    Code.GOOD_TILL_DATE: CodeText(
        meaning="A GTD order needs good_till_date, in the future; no other order has it.",
        remedy="Give good_till_date with its time zone, or use tif DAY.",
    ),
    Code.STOP_ON_WRONG_SIDE: CodeText(
        meaning="The stop or trigger lies on the side of the market where the order would wake at once, or a limit "
        "lies on the side of its stop where it could not fill.",
        remedy="Stops of sells (and triggers of touched buys) lie below the market, stops of buys (and triggers of "
        "touched sells) above it.",
    ),
    Code.BRACKET_PRICES: CodeText(
        meaning="The exits of a bracket do not lie on either side of its entry.",
        remedy="BUY: stop-loss below entry and market, take-profit above the entry; SELL: the other way round.",
    ),
    Code.TAKE_PROFIT_EDGE: CodeText(
        meaning="The bracket's take-profit would not pay fee, slippage and the profit that the operator asks for.",
        remedy="Choose a take-profit farther from the entry.",
    ),
    Code.NOTHING_TO_CHANGE: CodeText(
        meaning="The modification changes nothing.", remedy="Give at least one field that differs from the order."
    ),
    Code.ORDER_NOT_FOUND: CodeText(
        meaning="The broker lists no such order.", remedy="Take the perm_id from get_open_orders."
    ),
    Code.ORDER_NOT_WORKING: CodeText(
        meaning="The order has already ended.", remedy="Look at its final state; a new order needs a new request."
    ),
    Code.NOT_OUR_ORDER: CodeText(
        meaning="Another client or a person placed the order; this connection cannot change it.",
        remedy="It must be changed where it was placed, for instance in Trader Workstation.",
    ),
    Code.NOT_A_STOP_ORDER: CodeText(
        meaning="The order named is no stop order.",
        remedy="Take the perm_id from get_stop_losses; other orders are changed with modify_order and cancel_order.",
    ),
    Code.NO_POSITION: CodeText(
        meaning="There is nothing to close: the broker reports no such position.",
        remedy="Look at get_portfolio, and name the account if there are several.",
    ),
    Code.ALREADY_CLOSING: CodeText(
        meaning="Working orders may already trade the whole position, so another exit could open the opposite one.",
        remedy="See get_open_orders: wait for those orders, change their price, or cancel them first. A stop that "
        "covers the position is one of them.",
    ),
    Code.WOULD_OPEN: CodeText(
        meaning="The order would trade more than can be closed, and so open the opposite position.",
        remedy="Leave the quantity out to close all that can be closed, or stay within `limit`.",
    ),
    Code.ORDER_SIZE_LIMIT: CodeText(
        meaning="The order is larger than the number of units allowed per order.",
        remedy="Stay within `limit`; only the operator can change it.",
    ),
    Code.ORDER_VALUE_LIMIT: CodeText(
        meaning="The order is worth more, at its worst price, than allowed per order.",
        remedy="Stay within `limit`; only the operator can change it.",
    ),
    Code.ORDER_VALUE_UNKNOWN: CodeText(
        meaning="The order cannot be valued in US dollars, so it is not sent.",
        remedy="Ask for a quote of the instrument and of its currency first; without them nothing is sent.",
    ),
    Code.NO_REFERENCE_PRICE: CodeText(
        meaning="There is no fresh price to judge the order by.",
        remedy="Call get_market_data; try again when it shows a fresh bid and ask.",
    ),
    Code.NO_LIVE_DATA: CodeText(
        meaning="Market orders need live data; only delayed or frozen data is there.",
        remedy="Use a limit order, or ask the operator for live market data.",
    ),
    Code.PRICE_COLLAR: CodeText(
        meaning="The price crosses the market by more than the collar.",
        remedy="Use a price inside `limit`.",
    ),
    Code.COOLDOWN: CodeText(
        meaning="The last opening order on this instrument and side was too short a time ago.",
        remedy="Wait for `retry_after_s`.",
    ),
    Code.CYCLE_VALUE_LIMIT: CodeText(
        meaning="The opening orders of the rolling cycle would be worth more than allowed.",
        remedy="Wait for `retry_after_s`, or make the order smaller.",
    ),
    Code.DAILY_VALUE_LIMIT: CodeText(
        meaning="The opening orders of this trading day would be worth more than allowed.",
        remedy="Wait for the next trading day, or make the order smaller. Reductions still work.",
    ),
    Code.WORKING_ORDERS_LIMIT: CodeText(
        meaning="Too many orders work already, in the account or in this instrument.",
        remedy="Cancel one that is not needed any more, or wait until one is done.",
    ),
    Code.STOP_LOSS_ORDERS_LIMIT: CodeText(
        meaning="As many stop orders as allowed work already, so nothing more is opened.",
        remedy="Cancel a stop that protects nothing, or close a position. Protective stops still pass.",
    ),
    Code.SELF_MATCH: CodeText(
        meaning="The order could trade against an own working order.",
        remedy="Cancel that order first, or choose a price that does not cross it.",
    ),
    Code.ILLIQUID: CodeText(
        meaning="The market is too wide, or quoted on one side only.",
        remedy="Wait for a narrower market; get_market_data shows it.",
    ),
    Code.IMPLAUSIBLE_QUOTE: CodeText(
        meaning="The price jumped, and no trade confirms it.",
        remedy="Ask for the quote again; one plausible tick is enough.",
    ),
    Code.PRICE_WALK: CodeText(
        meaning="Own prices in this instrument have walked too far in a short time.",
        remedy="Stay inside `limit`, or wait some minutes.",
    ),
    Code.REPEATED_ORDER: CodeText(
        meaning="The same order was accepted a moment ago under another key.",
        remedy="If a second one is meant, wait for `retry_after_s`, or use prepare_order and commit_order; if not, "
        "look at the first with get_order_status.",
    ),
    Code.EQUITY_UNKNOWN: CodeText(
        meaning="The broker has not told lately what the account is worth, so its limits cannot be judged.",
        remedy="Call get_account_summary, then try again; reductions still work.",
    ),
    Code.NO_EQUITY: CodeText(
        meaning="The account is worth nothing, or less.",
        remedy="Tell the operator. Nothing is opened; reductions still work.",
    ),
    Code.EXPOSURE_UNKNOWN: CodeText(
        meaning="A position or a working order cannot be valued in US dollars, so the sum is unknown.",
        remedy="Call get_portfolio, then try again; what the message names needs a price. Reductions still work.",
    ),
    Code.POSITION_SIZE_LIMIT: CodeText(
        meaning="The instrument would take a larger share of the equity than allowed, with everything counted "
        "that works or was decided on.",
        remedy="Make the order smaller, or cancel orders in the instrument; only the operator can change the limit.",
    ),
    Code.POSITION_VALUE_LIMIT: CodeText(
        meaning="The instrument would be worth more than allowed, with all counted that works or was decided on.",
        remedy="Make the order smaller, or cancel orders in the instrument; only the operator can change the limit.",
    ),
    Code.EXPOSURE_PCT_LIMIT: CodeText(
        meaning="All positions together, long and short, would take a larger share of the equity than allowed.",
        remedy="Make the order smaller, or reduce a position or cancel an entry first.",
    ),
    Code.EXPOSURE_VALUE_LIMIT: CodeText(
        meaning="All positions together, long and short, would be worth more than allowed.",
        remedy="Make the order smaller, or reduce a position or cancel an entry first.",
    ),
    Code.STRATEGY_LIMIT: CodeText(
        meaning="What this agent brought about, with everything of it that may still fill, would be too large a share "
        "of the equity.",
        remedy="Ask for a smaller order, or close something of this agent first.",
    ),
    Code.SECTOR_LIMIT: CodeText(
        meaning="One sector would be too large a share of the equity; instruments whose sector is unknown are one.",
        remedy="Ask for a smaller order, or for an instrument of another sector.",
    ),
    Code.BORROW_UNKNOWN: CodeText(
        meaning="Selling short is on, and the broker has not told whether the shares can be borrowed.",
        remedy="Ask get_market_data and try again in a moment.",
    ),
    Code.BORROW_UNAVAILABLE: CodeText(
        meaning="The broker does not have as many shares to lend for sure.",
        remedy="Ask for fewer, or leave it.",
    ),
    Code.MARGIN_UNKNOWN: CodeText(
        meaning="The broker did not say what the account's margin would be after the order.",
        remedy="Try again in a moment; if it stays, tell the operator.",
    ),
    Code.MARGIN_LIMIT: CodeText(
        meaning="By the broker's preview the maintenance margin after the order would be too much of the equity.",
        remedy="Ask for a smaller order, or reduce a position first.",
    ),
    Code.CASH_UNKNOWN: CodeText(
        meaning="The broker has not told the settled cash, so that nobody knows what may be spent.",
        remedy="Ask get_account_summary, then try again.",
    ),
    Code.CASH_RESERVE: CodeText(
        meaning="All purchases that may still come would cost more, with fees, than settled cash above the reserve.",
        remedy="Ask for a smaller order, or cancel a working purchase.",
    ),
    Code.CAPITAL_AT_RISK: CodeText(
        meaning="Too much of the equity would be lost if every stop were hit; positions without a stop count in full.",
        remedy="Protect positions with stops, place the entry as a bracket, or ask for a smaller order.",
    ),
    Code.POSITIONS_LIMIT: CodeText(
        meaning="As many instruments as allowed are held or about to be; adding to one of them is still possible.",
        remedy="Close a position, or cancel the entry of one that has not filled.",
    ),
    Code.LEVERAGE_LIMIT: CodeText(
        meaning="All positions together would be more times the equity than allowed.",
        remedy="Make the order smaller, or reduce a position or cancel an entry first.",
    ),
    Code.INSTRUMENT_NOT_LISTED: CodeText(
        meaning="The instrument is not on the operator's list of what may be opened.",
        remedy="Ask the operator (IBKR_ALLOWED_SYMBOLS). What is held can still be reduced or closed.",
    ),
    Code.SHORT_NOT_ALLOWED: CodeText(
        meaning="If all sells of the instrument filled, more would be sold than is held, and selling short is off.",
        remedy="Sell at most what is held and not already being sold; get_portfolio and get_open_orders show it.",
    ),
    Code.IDEMPOTENCY_MISMATCH: CodeText(
        meaning="The client_request_id was used before with other parameters.",
        remedy="Use a new client_request_id for a new order.",
    ),
    Code.IN_PROGRESS: CodeText(
        meaning="A request with this client_request_id is still being carried out.",
        remedy="Call get_order_status with the same client_request_id.",
    ),
    Code.UNRESOLVED_ORDER: CodeText(
        meaning="An earlier order in this instrument has an unknown outcome.",
        remedy="Wait until get_order_status shows it resolved; never repeat the order.",
    ),
    Code.CONFIRMATION_REQUIRED: CodeText(
        meaning="The order takes a second step before it is sent.",
        remedy="Call prepare_order with this tool and the same arguments, look at what it shows, then commit_order. "
        "Where a person must confirm, tell the user that a request waits in `ibkr-mcp-server approvals`.",
    ),
    Code.PENDING_CONFIRMATION: CodeText(
        meaning="A person must confirm the order outside of this conversation and has not yet.",
        remedy="Tell the user the request's id, which is in `observed`; commit_order again once they have run "
        "`ibkr-mcp-server approve`.",
    ),
    Code.CONFIRMATION_DENIED: CodeText(
        meaning="A person said no to the order.", remedy="Do not prepare it again; ask the user what they want."
    ),
    Code.CONFIRMATION_LIMIT: CodeText(
        meaning="Too many orders wait for a yes, or were prepared for one in the last hour.",
        remedy="Commit or leave those that wait, and wait for `retry_after_s`. What reduces a position needs no yes.",
    ),
    Code.TICKET_UNKNOWN: CodeText(
        meaning="There is no such ticket, or it was made for another agent.",
        remedy="Call prepare_order and use the ticket that it returns.",
    ),
    Code.TICKET_USED: CodeText(
        meaning="The ticket was used before; a ticket is good once.",
        remedy="Do not prepare it again: get_order_status tells what became of it.",
    ),
    Code.TICKET_EXPIRED: CodeText(
        meaning="The ticket's time is over.", remedy="Call prepare_order again if the order is still wanted."
    ),
    Code.TICKET_VOID: CodeText(
        meaning="The safety state, the account or the order changed since the ticket was made.",
        remedy="Ask get_safety_status what changed, and call prepare_order again if the order is still wanted.",
    ),
    Code.CHECK_ERROR: CodeText(
        meaning="A safety check failed to run, which counts as a refusal.", remedy="Report it; nothing was sent."
    ),
    Code.DECISION_TIMEOUT: CodeText(
        meaning="The checks did not finish in time, which counts as a refusal.",
        remedy="Try again; if it persists, get_connection_status tells whether the broker answers.",
    ),
    Code.RECORD_FAILED: CodeText(
        meaning="The request could not be recorded durably, so it was not carried out.",
        remedy="Tell the operator: the store or its disk needs attention.",
    ),
    Code.BROKER_UNAVAILABLE: CodeText(
        meaning="The broker cannot be reached.",
        remedy="Call get_connection_status: it says what is missing and how to repair it.",
    ),
    Code.BROKER_TIMEOUT: CodeText(
        meaning="The broker did not answer in time; nothing was changed by this request.",
        remedy="Try again; get_connection_status tells whether the link is alive.",
    ),
    Code.BROKER_OFFLINE: CodeText(
        meaning="The gateway has lost its own connection to IBKR.",
        remedy="Wait: the gateway connects again by itself; get_connection_status tells when.",
    ),
    Code.BROKER_PACING: CodeText(
        meaning="There were more requests than the broker takes in so short a time; this one was not carried out.",
        remedy="Wait for `retry_after_s` and ask again, with fewer requests.",
    ),
    Code.BROKER_REFUSED: CodeText(
        meaning="The broker does not answer this question; its code and text are attached.",
        remedy="Read the broker's reason; correct the question or ask the operator.",
    ),
    Code.BROKER_REJECTED: CodeText(
        meaning="The broker refused the request; its code and text are attached.",
        remedy="Read the broker's reason; correct the request or ask the operator.",
    ),
    Code.BRACKET_INCOMPLETE: CodeText(
        meaning="A part of the bracket could not be placed, and not all of the rest could be taken back.",
        remedy="Look at each leg: protect what has filled with place_stop_loss or end it with close_position, and "
        "cancel what still works and is not wanted.",
    ),
    Code.OUTCOME_UNKNOWN: CodeText(
        meaning="The request was sent, and it is not known what the broker did with it.",
        remedy="Do not send it again. Call get_order_status with the client_request_id until it is resolved.",
    ),
    Code.ACCOUNT_ECHO_MISMATCH: CodeText(
        meaning="The broker reports the order in another account than the one it was sent for.",
        remedy="Trading was stopped. Tell the operator at once.",
    ),
    Code.NO_MARKET_DATA: CodeText(
        meaning="The broker gives no prices for this instrument.",
        remedy="Read the broker's reason; a market-data subscription may be missing.",
    ),
    Code.NO_QUOTE: CodeText(
        meaning="No price of this instrument arrived in time.",
        remedy="Ask again later; its market may be closed, or it may not trade.",
    ),
    Code.INTERNAL_ERROR: CodeText(
        meaning="The product itself failed.", remedy="Report it with the decision_id; the log has the details."
    ),
}


def problem(
    code: Code,
    message: str,
    *,
    observed: object = None,
    limit: object = None,
    next_step: str | None = None,
    retry_after_seconds: float | None = None,
) -> Problem:
    """A problem with its code's remedy, unless a better next step is known."""
    return Problem(
        code=code,
        message=message,
        observed=None if observed is None else str(observed),
        limit=None if limit is None else str(limit),
        next_step=CODES[code].remedy if next_step is None else next_step,
        retry_after_seconds=retry_after_seconds,
    )
