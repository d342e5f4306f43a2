"""The gateway's money: cash, positions, margin and profit of its accounts (tws-wire guide, section 4).

Amounts are `Decimal` in the currency named beside them; the base currency is USD. What a security costs is paid when it
is bought. A future costs nothing but its commission: its gains and losses are paid when it is closed, and those of an
open one at the end of each trading day, as at a clearing house.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal

from ibkr_mcp_server.simulator.commissions import commission_currency_of, commission_for
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.margin import margin_of
from ibkr_mcp_server.simulator.market import Market
from ibkr_mcp_server.simulator.orders import MarginChange

BASE_CURRENCY = "USD"
STARTING_CASH = Decimal(1_000_000)
BUYING_POWER_PER_FUNDS = Decimal(4)

_ZERO = Decimal(0)
_CENT = Decimal("0.01")
_BEYOND_CENT = Decimal("0.00000001")


@dataclass(kw_only=True)
class Position:
    """A holding. `average_cost` is per contract: times the multiplier, commissions included, as TWS reports it."""

    con_id: int
    quantity: Decimal = _ZERO
    average_cost: Decimal = _ZERO
    realized_today: Decimal = _ZERO
    value_at_day_start: Decimal = _ZERO
    paid_today: Decimal = _ZERO
    """Net spent on it since the trading day began, commissions included; of a future, its value and not its cash."""
    settled_value: Decimal = _ZERO
    """Of a future, the value up to which gains and losses are in the cash; commissions are no part of it."""


@dataclass(kw_only=True)
class Account:
    code: str
    cash: dict[str, Decimal] = field(default_factory=dict)
    positions: dict[int, Position] = field(default_factory=dict)
    equity_at_day_start: Decimal = STARTING_CASH


@dataclass(frozen=True, kw_only=True)
class AccountValue:
    tag: str
    value: str
    currency: str = ""


@dataclass(frozen=True, kw_only=True)
class HoldingValue:
    """A position at the market, in its own currency; `None` where there is no price."""

    listing: Listing
    quantity: Decimal
    average_cost: Decimal
    price: Decimal
    market_value: Decimal
    unrealized: Decimal
    realized: Decimal
    daily: Decimal
    unsettled: Decimal
    """The gain of a future that is not in the cash yet; nought for anything else."""

    @property
    def counts(self) -> Decimal:
        """What it adds to the account's equity: pairs count through the cash they moved, futures by what they owe."""
        if self.listing.sec_type == "CASH":
            return _ZERO
        return self.unsettled if self.listing.sec_type == "FUT" else self.market_value


class Accounts:
    """All accounts behind this gateway. `served` is what managedAccounts tells; the others keep their books."""

    def __init__(
        self,
        codes: Iterable[str],
        *,
        catalogue: Catalogue,
        market: Market,
        margin_times: Callable[[], Decimal] = lambda: Decimal(1),
    ) -> None:
        self._catalogue = catalogue
        self._market = market
        self._margin_times = margin_times
        self._rates: dict[str, Decimal] = {BASE_CURRENCY: Decimal(1)}
        self._currencies = sorted(
            {name for row in catalogue if row.sec_type == "CASH" for name in (row.symbol, row.currency)}
        )
        self.by_code: dict[str, Account] = {}
        self.served: tuple[str, ...] = ()
        self.touched: set[str] = set()
        """Accounts changed since the exchange last wrote the journal."""
        self.serve(codes)

    def serve(self, codes: Iterable[str]) -> None:
        """Serve these accounts, opening with the starting cash those that are new."""
        self.served = tuple(codes)
        for code in self.served:
            if code not in self.by_code:
                self.by_code[code] = Account(code=code, cash={BASE_CURRENCY: STARTING_CASH})
                self.touched.add(code)

    def restore(self, account: Account) -> None:
        self.by_code[account.code] = account

    # --- what happens to an account ---

    def add_position(self, code: str, listing: Listing, quantity: Decimal, average_cost: Decimal) -> None:
        """Put a holding there as if it had always been; no cash moves."""
        position = Position(
            con_id=listing.con_id,
            quantity=quantity,
            average_cost=average_cost,
            settled_value=quantity * average_cost if listing.sec_type == "FUT" else _ZERO,
        )
        self.by_code[code].positions[listing.con_id] = position
        position.value_at_day_start = self.holding(position).market_value
        self.touched.add(code)

    def pay(self, code: str, amount: Decimal, currency: str) -> None:
        """Money comes in; negative, it goes out."""
        self._pay(self.by_code[code], currency, -amount)
        self.touched.add(code)

    def book_fill(
        self, code: str, listing: Listing, *, signed_quantity: Decimal, price: Decimal, commission: Decimal
    ) -> Decimal | None:
        """Book one fill; `signed_quantity` is negative for a sale. The profit realised, `None` if it only opened.

        The commission is in the base currency for pairs and in the instrument's own otherwise.
        """
        account = self.by_code[code]
        position = account.positions.setdefault(listing.con_id, Position(con_id=listing.con_id))
        value = signed_quantity * price * value_per_point(listing)
        commission_currency = commission_currency_of(listing)
        if listing.sec_type == "FUT":
            self._pay(account, listing.currency, _settle_fill(position, signed_quantity, value))
        else:
            self._pay(account, listing.currency, value)
        if listing.sec_type == "CASH":
            self._pay(account, listing.symbol, -signed_quantity)
        self._pay(account, commission_currency, commission)
        charged = commission * self.rate(commission_currency) / self.rate(listing.currency)
        position.paid_today += value + charged
        realized = _apply_fill(position, signed_quantity, price * value_per_point(listing), charged)
        if realized is not None:
            position.realized_today += realized
        self.touched.add(code)
        return realized

    def _pay(self, account: Account, currency: str, amount: Decimal) -> None:
        account.cash[currency] = account.cash.get(currency, _ZERO) - amount

    def start_day(self, day: date) -> list[tuple[str, int]]:
        """A new trading day: profit starts at nought, closed positions leave the list, futures are settled in cash.

        What expired before `day` is closed in cash; the accounts and contract ids that this concerns are returned.
        """
        expired = []
        for account in self.by_code.values():
            account.positions = {con_id: row for con_id, row in account.positions.items() if row.quantity}
            for position in account.positions.values():
                if self._expire(account, position, day):
                    expired.append((account.code, position.con_id))
                holding = self.holding(position)
                position.realized_today = position.paid_today = _ZERO
                position.value_at_day_start = holding.market_value
                if holding.listing.sec_type == "FUT":
                    self._pay(account, holding.listing.currency, -holding.unsettled)
                    position.settled_value = holding.market_value
            account.equity_at_day_start = self.equity(account.code)
            self.touched.add(account.code)
        return expired

    def _expire(self, account: Account, position: Position, day: date) -> bool:
        """Close a holding whose last trading day is over: a future at its last price, an option at what it is worth.

        Options are paid out in cash, those on shares too; at IBKR the shares themselves would change hands.
        """
        holding = self.holding(position)
        row = holding.listing
        if row.sec_type not in ("FUT", "OPT") or row.last_trade_date >= f"{day:%Y%m%d}":
            return False
        worth = holding.unsettled
        if row.sec_type == "OPT":
            under = self._underlying(row)
            strike = row.strike or _ZERO
            intrinsic = (
                _ZERO if under is None else max(under[1] - strike if row.right == "C" else strike - under[1], _ZERO)
            )
            worth = position.quantity * intrinsic * value_per_point(row)
        self._pay(account, row.currency, -worth)
        position.quantity = position.average_cost = position.settled_value = _ZERO
        return True

    # --- what an account is worth ---

    def rate(self, currency: str) -> Decimal:
        """Units of the base currency for one of `currency`: the pair's mid, or its last one while it has no quote.

        A currency without a pair to the base goes through one that has both, as the euro usually does.
        """
        if currency == BASE_CURRENCY:
            return Decimal(1)
        price = self._cross(currency, BASE_CURRENCY)
        for middle in () if price is not None else self._currencies:
            first, second = self._cross(currency, middle), self._cross(middle, BASE_CURRENCY)
            if first is not None and second is not None:
                price = first * second
                break
        if price is not None:
            self._rates[currency] = price
        if currency not in self._rates:
            raise LookupError(f"no currency pair leads from {currency} to {BASE_CURRENCY}")
        return self._rates[currency]

    def _cross(self, currency: str, other: str) -> Decimal | None:
        """Units of `other` for one of `currency`, by a pair of the two."""
        if (pair := self._catalogue.pair(currency, other)) is not None:
            return self.mark(pair.con_id) or None
        pair = self._catalogue.pair(other, currency)
        price = self.mark(pair.con_id) if pair is not None else None
        return 1 / price if price else None

    def mark(self, con_id: int) -> Decimal | None:
        """The price that values a holding: last, else the middle, else the previous close."""
        quote = self._market.quote(con_id)
        if quote.last is not None:
            return quote.last
        if quote.bid is not None and quote.ask is not None:
            return (quote.bid + quote.ask) / 2
        return quote.close

    def holding(self, position: Position) -> HoldingValue:
        listing = self._catalogue.by_con_id(position.con_id)
        if listing is None:
            raise LookupError(f"a position in {position.con_id}, which the catalogue does not list")
        factor = value_per_point(listing)
        mark = self.mark(position.con_id)
        # Without any price the holding is carried at cost, as TWS does for an instrument that stopped trading.
        price = mark if mark is not None else position.average_cost / factor
        value = position.quantity * price * factor
        return HoldingValue(
            listing=listing,
            quantity=position.quantity,
            average_cost=position.average_cost,
            price=price,
            market_value=value,
            unrealized=value - position.quantity * position.average_cost,
            realized=position.realized_today,
            daily=value - position.value_at_day_start - position.paid_today,
            unsettled=value - position.settled_value if listing.sec_type == "FUT" else _ZERO,
        )

    def holdings(self, code: str) -> list[HoldingValue]:
        return [self.holding(position) for position in self.by_code[code].positions.values()]

    def total_cash(self, code: str) -> Decimal:
        return sum((amount * self.rate(currency) for currency, amount in self.by_code[code].cash.items()), _ZERO)

    def equity(self, code: str) -> Decimal:
        """Net liquidation."""
        securities = (row.counts * self.rate(row.listing.currency) for row in self.holdings(code))
        return sum(securities, self.total_cash(code))

    def daily_pnl(self, code: str) -> Decimal:
        return sum((row.daily * self.rate(row.listing.currency) for row in self.holdings(code)), _ZERO)

    def unrealized_pnl(self, code: str) -> Decimal:
        return sum((row.unrealized * self.rate(row.listing.currency) for row in self.holdings(code)), _ZERO)

    def realized_pnl(self, code: str) -> Decimal:
        return sum((row.realized * self.rate(row.listing.currency) for row in self.holdings(code)), _ZERO)

    # --- margin ---

    def margin(self, code: str, *, change: tuple[Listing, Decimal] | None = None) -> tuple[Decimal, Decimal]:
        """Initial and maintenance margin, as things stand or with a signed quantity of one instrument added."""
        quantities = {row.con_id: row.quantity for row in self.by_code[code].positions.values()}
        if change is not None:
            listing, added = change
            quantities[listing.con_id] = quantities.get(listing.con_id, _ZERO) + added
        initial = maintenance = _ZERO
        for con_id, quantity in quantities.items():
            held = self._catalogue.by_con_id(con_id)
            price = self.mark(con_id)
            if held is None or price is None or not quantity:
                continue
            point, rate = value_per_point(held), self.rate(held.currency)
            tied_up = margin_of(
                held, quantity, quantity * price * point, under=self._underlying(held), multiplier=point
            )
            initial += tied_up.initial * rate
            maintenance += tied_up.maintenance * rate
        times = self._margin_times()
        return initial * times, maintenance * times

    def _underlying(self, listing: Listing) -> tuple[str, Decimal] | None:
        """Type and price of an option's underlying."""
        under = self._catalogue.by_con_id(listing.under_con_id) if listing.under_con_id else None
        price = self.mark(under.con_id) if under is not None else None
        return None if under is None or price is None else (under.sec_type, price)

    def commission(self, listing: Listing, quantity: Decimal, price_times_quantity: Decimal) -> Decimal:
        """What an order is charged that has traded so much, in the currency that commissions in it are charged in."""
        value = price_times_quantity * value_per_point(listing)
        if listing.sec_type == "CASH":
            value *= self.rate(listing.currency)
        return commission_for(listing, quantity=quantity, value=value)

    def margin_change(self, code: str, listing: Listing, signed_quantity: Decimal, commission: Decimal) -> MarginChange:
        """What a complete fill would do to the account."""
        initial, maintenance = self.margin(code)
        initial_after, maintenance_after = self.margin(code, change=(listing, signed_quantity))
        equity = self.equity(code)
        currency = commission_currency_of(listing)
        return MarginChange(
            initial_before=cents(initial),
            maintenance_before=cents(maintenance),
            equity_before=cents(equity),
            initial_after=cents(initial_after),
            maintenance_after=cents(maintenance_after),
            equity_after=cents(equity - commission * self.rate(currency)),
            commission=commission,
            currency=currency,
        )

    # --- as TWS lists it ---

    def values(self, code: str) -> list[AccountValue]:
        """Every account value of `code`, alphabetical by tag; the ledger's rows carry each currency and BASE."""
        account = self.by_code[code]
        initial, maintenance = self.margin(code)
        cash, equity = self.total_cash(code), self.equity(code)
        holdings = self.holdings(code)
        gross = sum(
            (abs(row.counts) * self.rate(row.listing.currency) for row in holdings if row.listing.sec_type != "FUT"),
            _ZERO,
        )
        funds, excess = max(equity - initial, _ZERO), equity - maintenance
        amounts = {
            "NetLiquidation": equity,
            "TotalCashValue": cash,
            "SettledCash": cash,
            "AccruedCash": _ZERO,
            "BuyingPower": funds * BUYING_POWER_PER_FUNDS,
            "EquityWithLoanValue": equity,
            "PreviousDayEquityWithLoanValue": account.equity_at_day_start,
            "GrossPositionValue": gross,
            "RegTEquity": equity,
            "RegTMargin": gross / 2,
            "SMA": max(equity - gross / 2, _ZERO),
        }
        for prefix in ("", "Full", "LookAhead"):
            amounts[f"{prefix}InitMarginReq"] = initial
            amounts[f"{prefix}MaintMarginReq"] = maintenance
            amounts[f"{prefix}AvailableFunds"] = funds
            amounts[f"{prefix}ExcessLiquidity"] = excess
        rows = [
            AccountValue(tag=tag, value=money(amount), currency=BASE_CURRENCY)
            for tag, amount in sorted(amounts.items())
        ]
        plain = {
            "AccountCode": code,
            "AccountReady": "true",
            "AccountType": "INDIVIDUAL",
            "Cushion": _ratio(excess, equity),
            "DayTradesRemaining": "-1",
            **{f"DayTradesRemainingT+{days}": "-1" for days in range(1, 5)},
            "HighestSeverity": "0",
            "Leverage": _ratio(gross, equity),
            "LookAheadNextChange": "0",
        }
        rows += [AccountValue(tag=tag, value=value) for tag, value in plain.items()]
        return sorted(rows, key=lambda row: row.tag) + self.ledger(code)

    def ledger(self, code: str) -> list[AccountValue]:
        account = self.by_code[code]
        holdings = self.holdings(code)
        rows: list[AccountValue] = []
        for currency in ("BASE", *sorted({BASE_CURRENCY, *account.cash})):
            base = currency == "BASE"
            in_it = [row for row in holdings if base or row.listing.currency == currency]

            def total(attribute: str, *types: str, rows: list[HoldingValue] = in_it, base: bool = base) -> Decimal:
                counted = (row for row in rows if not types or row.listing.sec_type in types)
                return sum(
                    (getattr(row, attribute) * (self.rate(row.listing.currency) if base else 1) for row in counted),
                    _ZERO,
                )

            cash = self.total_cash(code) if base else account.cash.get(currency, _ZERO)
            amounts = {
                "CashBalance": money(cash),
                "Cryptocurrency": money(total("market_value", "CRYPTO")),
                "Currency": currency,
                "ExchangeRate": "1.00" if base else money(self.rate(currency), places=_BEYOND_CENT),
                "FuturesPNL": money(total("unsettled", "FUT")),
                "NetLiquidationByCurrency": money(cash + total("counts")),
                "OptionMarketValue": money(total("market_value", "OPT")),
                "RealizedPnL": money(total("realized")),
                "StockMarketValue": money(total("market_value", "STK")),
                "TotalCashBalance": money(cash),
                "UnrealizedPnL": money(total("unrealized")),
            }
            rows += [AccountValue(tag=tag, value=value, currency=currency) for tag, value in amounts.items()]
        return rows


def value_per_point(listing: Listing) -> Decimal:
    """What one unit of price is worth per contract, in the listing's currency; a London share quotes pence."""
    return Decimal(listing.multiplier or 1) / listing.price_magnifier


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, rounding=ROUND_HALF_EVEN)


def money(amount: Decimal, *, places: Decimal = _CENT) -> str:
    return format(amount.quantize(places, rounding=ROUND_HALF_EVEN), "f")


def _ratio(part: Decimal, whole: Decimal) -> str:
    return money(part / whole, places=Decimal("0.0001")) if whole else "0"


def _settle_fill(position: Position, signed: Decimal, value: Decimal) -> Decimal:
    """What a fill of a future costs in cash: the loss of the part that it closes, negative for a gain."""
    held = position.quantity
    if held * signed >= 0:
        position.settled_value += value
        return _ZERO
    closing = min(abs(signed), abs(held))
    released = position.settled_value * closing / abs(held)
    closed = value * closing / abs(signed)
    position.settled_value += value - closed - released
    return released + closed


def _apply_fill(position: Position, signed: Decimal, price: Decimal, commission: Decimal) -> Decimal | None:
    """Move quantity and average cost; the realised profit of what was closed, its share of the commission included."""
    held = position.quantity
    if held * signed >= 0:
        side = 1 if signed > 0 else -1
        cost = abs(held) * position.average_cost + abs(signed) * price + side * commission
        position.quantity = held + signed
        position.average_cost = cost / abs(position.quantity)
        return None
    closing = min(abs(signed), abs(held))
    closing_commission = commission * closing / abs(signed)
    direction = 1 if held > 0 else -1
    realized = direction * closing * (price - position.average_cost) - closing_commission
    position.quantity = held + signed
    if abs(signed) > closing:
        side = 1 if signed > 0 else -1
        opened = abs(signed) - closing
        position.average_cost = price + side * (commission - closing_commission) / opened
    elif not position.quantity:
        position.average_cost = _ZERO
    return realized
