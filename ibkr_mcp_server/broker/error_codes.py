"""IBKR's message codes in plain words: what each means, whether trying again can help, what to do next.

One table, from IBKR's list of TWS API message codes and from what gateways were seen to send. A code that is not in
it has a safe default: nothing is concluded from it until the broker's own records were read.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from ibkr_mcp_server.errors import ProductError, Refused, Unavailable

LONGEST_QUOTE = 200


class Kind(StrEnum):
    """What a code says about the request or order that it names."""

    REFUSED = "refused"
    """The broker said no: a new order does not exist, a change was not made, a request gets no answer."""
    UNAVAILABLE = "unavailable"
    """Something is missing at the moment."""
    UNKNOWN = "unknown"
    """Conclude nothing: read the broker's records."""
    WARNING = "warning"
    """The request or order goes on, with a remark."""
    INFO = "info"
    """A state or an event that needs nothing."""


@dataclass(frozen=True, kw_only=True)
class BrokerCode:
    """One line of the table."""

    code: int
    kind: Kind
    meaning: str
    next_step: str
    retryable: bool = False


def explain(code: int) -> BrokerCode:
    """The line for `code`, or a default that concludes nothing."""
    known = _TABLE.get(code)
    if known is not None:
        return known
    if 2100 <= code < 2200:  # the range of system messages about data farms and settings
        return BrokerCode(
            code=code, kind=Kind.WARNING, meaning="A remark of the gateway.", next_step="Read the quoted text."
        )
    return BrokerCode(
        code=code,
        kind=Kind.UNKNOWN,
        meaning="A message that this product does not know.",
        next_step="Read the quoted text, and look at the open orders before doing anything again.",
    )


def quoted(text: str) -> str:
    """Text of the broker on one line: no control or formatting characters, at most 200 characters."""
    visible = (" " if unicodedata.category(character).startswith(("C", "Z")) else character for character in text)
    line = " ".join("".join(visible).split())
    return line if len(line) <= LONGEST_QUOTE else line[: LONGEST_QUOTE - 1] + "…"


def is_pacing(code: int, text: str) -> bool:
    """Whether the broker complains about too many requests."""
    return code in (100, 420, 10190) or (code in (162, 366) and "pacing" in text.lower())


def request_error(code: int, text: str, *, what: str) -> ProductError:
    """The error that answers the read request `what` ("contract details of AAPL")."""
    line, quote = explain(code), quoted(text)
    message = f"The broker did not answer the request for {what}: {line.meaning}"
    if is_pacing(code, text):
        return Unavailable(
            "BROKER_PACING",
            f"The broker slowed down the request for {what}: too many requests at once.",
            next_step="Wait a moment and ask again, with fewer requests.",
            retry_after_seconds=1.0,
            broker_code=code,
            broker_text=quote,
        )
    if line.kind is Kind.REFUSED:
        return Refused("BROKER_REFUSED", message, next_step=line.next_step, broker_code=code, broker_text=quote)
    return Unavailable(
        "BROKER_REFUSED",
        message,
        next_step=line.next_step,
        retry_after_seconds=1.0 if line.retryable else None,
        broker_code=code,
        broker_text=quote,
    )


def order_rejected(code: int, text: str, *, what: str) -> Refused:
    """The broker's no to `what` ("the order", "the change of the order")."""
    line = explain(code)
    return Refused(
        "BROKER_REJECTED",
        f"The broker rejected {what}: {line.meaning}",
        next_step=line.next_step,
        broker_code=code,
        broker_text=quoted(text),
    )


def _rows() -> dict[int, BrokerCode]:
    table: dict[int, BrokerCode] = {}

    def add(kind: Kind, *codes: int, meaning: str, next_step: str, retryable: bool = False) -> None:
        for code in codes:
            table[code] = BrokerCode(code=code, kind=kind, meaning=meaning, next_step=next_step, retryable=retryable)

    refused, unavailable, warning, info = Kind.REFUSED, Kind.UNAVAILABLE, Kind.WARNING, Kind.INFO

    # Rates and subscriptions
    add(
        unavailable,
        100,
        meaning="More than 50 messages per second reached the gateway.",
        next_step="Wait a second and ask again.",
        retryable=True,
    )
    add(
        unavailable,
        101,
        meaning="All market-data lines of the account are in use.",
        next_step="Ask for fewer instruments, or free lines in TWS.",
        retryable=True,
    )
    add(
        refused,
        102,
        322,
        meaning="The gateway could not process the request as it was sent.",
        next_step="Ask again; report it if it stays.",
        retryable=True,
    )
    add(
        info,
        300,
        366,
        meaning="The subscription that was to be cancelled does not exist any more.",
        next_step="Nothing to do.",
    )
    add(
        unavailable,
        309,
        10190,
        meaning="Too many depth or tick-by-tick requests are open.",
        next_step="Close one first.",
        retryable=True,
    )
    add(info, 317, meaning="The market depth was reset.", next_step="Nothing to do.")

    # Orders: refused, with nothing left alive by the request itself
    add(
        refused,
        103,
        meaning="The order id was used before.",
        next_step="Look at the open orders, then place the order again if it is not there.",
    )
    add(
        refused,
        104,
        meaning="The order is filled; a filled order cannot be changed.",
        next_step="Read the order's status.",
    )
    add(
        refused,
        105,
        meaning="The change does not match the original order (side or contract).",
        next_step="Cancel the order and place a new one.",
    )
    add(refused, 106, meaning="The order could not be sent on by the gateway.", next_step="Look at the open orders.")
    add(refused, 107, meaning="The order is incomplete.", next_step="Give all prices that its type needs.")
    add(
        refused,
        109,
        163,
        meaning="The price is outside the percentage limits of the gateway's settings.",
        next_step="Use a price nearer to the market.",
    )
    add(
        refused,
        110,
        meaning="The price is not on the contract's price grid.",
        next_step="Use a price that is a multiple of the instrument's price increment.",
    )
    add(
        refused,
        111,
        meaning="The time in force does not go with the order type.",
        next_step="Use another time in force.",
    )
    add(
        refused,
        113,
        meaning="Market-on-close and limit-on-close orders must be day orders.",
        next_step="Use time in force DAY.",
    )
    add(refused, 116, meaning="The order cannot be sent to the exchange.", next_step="Try another order or exchange.")
    add(refused, 135, meaning="The order that this one names does not exist.", next_step="Look at the open orders.")
    add(
        refused,
        136,
        161,
        meaning="The order is not in a state in which it can be cancelled.",
        next_step="Read the order's status; it may have ended already.",
    )
    add(refused, 140, 141, 144, meaning="A number in the order cannot be read.", next_step="Correct the number.")
    add(
        refused,
        201,
        meaning="The order was rejected by the broker.",
        next_step="Read the quoted reason: margin, permissions, a closed exchange or a price cap are common.",
    )
    add(
        refused,
        203,
        meaning="The instrument may not be traded in this account.",
        next_step="Trade another instrument, or ask IBKR for the permission.",
    )
    add(
        refused,
        328,
        meaning="A trailing stop can only be attached to limit and stop-limit orders.",
        next_step="Attach another kind of stop.",
    )
    add(
        refused,
        329,
        meaning="An order cannot be changed to this order type.",
        next_step="Cancel it and place a new one.",
    )
    add(
        refused,
        382,
        383,
        388,
        434,
        451,
        461,
        meaning="The size or value is outside the limits of the gateway's precautionary settings or of the contract.",
        next_step="Use another size.",
    )
    add(
        refused,
        387,
        meaning="The order type is not supported for this exchange and instrument.",
        next_step="Use another order type.",
    )
    add(
        refused,
        435,
        436,
        10015,
        10026,
        meaning="The account of the order is missing or not accepted.",
        next_step="Name one of the accounts that this login serves.",
    )
    add(
        refused,
        10147,
        meaning="The gateway does not know the order that was to be cancelled.",
        next_step="Read the order's status; orders of other clients are cancelled where they were placed.",
    )
    add(refused, 10148, meaning="The order cannot be cancelled in its state.", next_step="Read the order's status.")
    add(
        refused,
        10149,
        meaning="The order id is not one that a program can use; an order that was placed by hand has such an id.",
        next_step="Look at the open orders; an order that was placed by hand is changed where it was placed.",
    )
    add(
        refused,
        10243,
        10244,
        meaning="Fractional quantities cannot be ordered through the API.",
        next_step="Use a whole number.",
    )
    add(
        refused,
        412,
        meaning="The contract cannot be traded; an index, for instance, is only a number.",
        next_step="Trade another instrument, such as an ETF or a future on it.",
    )
    add(refused, 413, meaning="A what-if order was sent without being transmitted.", next_step="Report it.")
    add(refused, 463, meaning="The order lacks its trigger price.", next_step="Give the stop or trigger price.")
    add(
        refused,
        2102,
        meaning="The order is still being processed and cannot be changed now; it stays as it was.",
        next_step="Read the order's status, then change it again.",
        retryable=True,
    )
    add(
        refused,
        10326,
        10341,
        meaning="The group or parent of a placed order cannot be changed.",
        next_step="Cancel the order and place a new one.",
    )
    add(
        refused,
        10268,
        10269,
        10270,
        10340,
        meaning="The order carries an attribute that the broker does not support.",
        next_step="Leave out the attribute that the quoted text names.",
    )
    add(refused, 10318, 10327, meaning="The order or its settings are not allowed.", next_step="Read the quoted text.")

    # Orders: alive, with a remark, or ended by the broker
    add(info, 202, meaning="The order was cancelled.", next_step="Read the quoted reason, if there is one.")
    add(
        warning,
        399,
        meaning="The order lives, with a remark; often it waits for the market to open.",
        next_step="Read the quoted text and the order's status.",
    )
    add(
        warning,
        404,
        meaning="The order is held while shares to borrow are sought.",
        next_step="Wait, or cancel the order.",
    )
    add(
        warning, 2109, meaning="The gateway ignores 'outside regular hours' for this order.", next_step="Nothing to do."
    )
    add(warning, 2137, 2150, meaning="A remark on the order; it lives.", next_step="Read the quoted text.")
    add(
        warning,
        10349,
        meaning="The time in force was set by the gateway's order preset; the order lives.",
        next_step="Read the order's time in force.",
    )

    # Requests
    add(
        refused,
        162,
        meaning="The historical data or scanner service gave no data.",
        next_step="Read the quoted text: the period may be empty, the scan's words may not go together, or the "
        "permission is missing.",
        retryable=True,
    )
    add(warning, 165, meaning="A remark of the historical data or scanner service.", next_step="Read the quoted text.")
    add(
        refused,
        200,
        meaning="No contract, or more than one, matches the description.",
        next_step="Search for the symbol and use its exact form, for instance SYMBOL.EXCHANGE.CURRENCY.",
    )
    add(refused, 320, meaning="The gateway could not read the request.", next_step="Report it.")
    add(info, 365, meaning="The scan that was to be cancelled does not exist any more.", next_step="Nothing to do.")
    add(
        warning,
        492,
        meaning="The scan uses delayed data, or needs subscriptions that the account does not have.",
        next_step="Treat the ranking as delayed.",
    )
    add(
        refused,
        10172,
        meaning="The article cannot be had.",
        next_step="Take provider and article_id from get_news; old articles are not kept.",
    )
    add(
        refused,
        10276,
        meaning="The login may not read this news feed.",
        next_step="Name other providers, or subscribe to the feed at IBKR.",
    )
    add(
        refused,
        321,
        meaning="The gateway refused the request as not valid.",
        next_step="Read the quoted text; with 'read-only', untick Read-Only API in the gateway's API settings.",
    )
    add(
        refused,
        354,
        meaning="The account has no market-data subscription for this instrument.",
        next_step="Subscribe to the data at IBKR, or allow delayed data.",
    )
    add(
        refused,
        10089,
        10090,
        10186,
        meaning="The market data needs an additional subscription for the API.",
        next_step="Subscribe to the data at IBKR, or allow delayed data.",
    )
    add(
        warning,
        10167,
        meaning="Not subscribed to live data; delayed data is shown instead.",
        next_step="Treat the prices as delayed.",
    )
    add(
        refused,
        10168,
        meaning="Not subscribed, and delayed data is not enabled.",
        next_step="Subscribe to the data at IBKR.",
    )
    add(
        unavailable,
        10197,
        meaning="Another session of the same user has the live data.",
        next_step="Log out of the other session, then ask again.",
        retryable=True,
    )
    add(
        refused,
        420,
        meaning="No permission, or too many requests, for real-time data.",
        next_step="Ask again later, or subscribe to the data at IBKR.",
        retryable=True,
    )
    add(
        info, 310, meaning="The depth subscription that was to be cancelled does not exist.", next_step="Nothing to do."
    )
    add(
        refused,
        10092,
        meaning="There is no market depth for this instrument at this exchange.",
        next_step="Use quotes instead.",
    )
    add(
        refused,
        10187,
        meaning="There are no historical ticks of this kind for this instrument.",
        next_step="Ask for bars, or for ticks of another kind.",
    )
    add(refused, 10189, meaning="No permission for tick-by-tick data.", next_step="Use quotes instead.")
    add(refused, 430, 10358, meaning="Fundamental data is not offered any more.", next_step="Use another source.")

    # The link
    add(
        unavailable,
        326,
        meaning="The client id is in use by another program.",
        next_step="Stop the other program, or give this one another client id (IBKR_CLIENT_ID).",
    )
    add(
        unavailable,
        502,
        504,
        505,
        506,
        507,
        508,
        509,
        meaning="The connection to the gateway does not work.",
        next_step="See the connection status.",
        retryable=True,
    )
    add(unavailable, 503, meaning="The gateway is too old for this product.", next_step="Update TWS or IB Gateway.")
    add(
        unavailable,
        1100,
        2110,
        meaning="The gateway has lost its own link to IBKR.",
        next_step="Wait; it reconnects by itself. Orders at IBKR keep working meanwhile.",
        retryable=True,
    )
    add(
        info,
        1101,
        meaning="The gateway's link to IBKR is back; data subscriptions were lost.",
        next_step="Nothing to do.",
    )
    add(info, 1102, meaning="The gateway's link to IBKR is back.", next_step="Nothing to do.")
    add(
        unavailable,
        1300,
        meaning="The gateway's API port was changed.",
        next_step="Set IBKR_PORT to the new port and restart.",
    )
    add(
        warning,
        2103,
        2105,
        2157,
        meaning="A data farm of IBKR is not reachable.",
        next_step="Prices or history may be missing until it is back.",
    )
    add(info, 2104, 2106, 2158, meaning="A data farm of IBKR is reachable.", next_step="Nothing to do.")
    add(info, 2107, 2108, meaning="A data farm is idle and connects when it is needed.", next_step="Nothing to do.")
    add(info, 2119, meaning="A data farm is being connected.", next_step="Nothing to do.")
    return table


_TABLE = _rows()
KNOWN_CODES = frozenset(_TABLE)


def known_codes() -> list[BrokerCode]:
    """The whole table, by code."""
    return [_TABLE[code] for code in sorted(_TABLE)]
