"""The gateway's money: cash, positions, margin and profit of its accounts (tws-wire guide, section 4).

Amounts are `Decimal` in the currency named beside them; the base currency is USD. Margin is a plain model of IBKR's
Reg-T account, good for telling orders that fit from orders that do not: a share of each position's value.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal

from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.market import Market
from ibkr_mcp_server.simulator.orders import MarginChange

BASE_CURRENCY = "USD"
STARTING_CASH = Decimal(1_000_000)
BUYING_POWER_PER_FUNDS = Decimal(4)

_ZERO = Decimal(0)
_CENT = Decimal("0.01")
_BEYOND_CENT = Decimal("0.00000001")


@dataclass(frozen=True, kw_only=True)
class MarginRates:
    """Shares of a position's absolute value."""

    initial_long: Decimal
    initial_short: Decimal
    maintenance_long: Decimal
    maintenance_short: Decimal


MARGIN_RATES = {
    "STK": MarginRates(
        initial_long=Decimal("0.25"),
        initial_short=Decimal("0.30"),
        maintenance_long=Decimal("0.20"),
        maintenance_short=Decimal("0.25"),
    ),
    "CASH": MarginRates(
        initial_long=Decimal("0.025"),
        initial_short=Decimal("0.025"),
        maintenance_long=Decimal("0.02"),
        maintenance_short=Decimal("0.02"),
    ),
}
_FULL_VALUE = MarginRates(
    initial_long=Decimal(1), initial_short=Decimal(1), maintenance_long=Decimal(1), maintenance_short=Decimal(1)
)


@dataclass(kw_only=True)
class Position:
    """A holding. `average_cost` is per contract: times the multiplier, commissions included, as TWS reports it."""

    con_id: int
    quantity: Decimal = _ZERO
    average_cost: Decimal = _ZERO
    realized_today: Decimal = _ZERO
    value_at_day_start: Decimal = _ZERO
    paid_today: Decimal = _ZERO
    """Net cash spent on it since the trading day began, commissions included."""


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


class Accounts:
    """All accounts behind this gateway. `served` is what managedAccounts tells; the others keep their books."""

    def __init__(self, codes: Iterable[str], *, catalogue: Catalogue, market: Market) -> None:
        self._catalogue = catalogue
        self._market = market
        self._rates: dict[str, Decimal] = {BASE_CURRENCY: Decimal(1)}
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
        position = Position(con_id=listing.con_id, quantity=quantity, average_cost=average_cost)
        self.by_code[code].positions[listing.con_id] = position
        position.value_at_day_start = self.holding(position).market_value
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

    def start_day(self) -> None:
        """A new trading day: today's profit starts at nought and closed positions leave the list."""
        for account in self.by_code.values():
            account.positions = {con_id: row for con_id, row in account.positions.items() if row.quantity}
            for position in account.positions.values():
                position.realized_today = position.paid_today = _ZERO
                position.value_at_day_start = self.holding(position).market_value
            account.equity_at_day_start = self.equity(account.code)
            self.touched.add(account.code)

    # --- what an account is worth ---

    def rate(self, currency: str) -> Decimal:
        """Units of the base currency for one of `currency`: the pair's mid, or its last one while it has no quote."""
        if currency == BASE_CURRENCY:
            return Decimal(1)
        for symbol, quoted, inverse in ((currency, BASE_CURRENCY, False), (BASE_CURRENCY, currency, True)):
            pairs = self._catalogue.matching(symbol=symbol, sec_type="CASH", currency=quoted)
            if pairs and (price := self.mark(pairs[0].con_id)):
                self._rates[currency] = 1 / price if inverse else price
                break
        return self._rates.get(currency, Decimal(1))

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
        )

    def holdings(self, code: str) -> list[HoldingValue]:
        return [self.holding(position) for position in self.by_code[code].positions.values()]

    def total_cash(self, code: str) -> Decimal:
        return sum((amount * self.rate(currency) for currency, amount in self.by_code[code].cash.items()), _ZERO)

    def equity(self, code: str) -> Decimal:
        """Net liquidation. Currency pairs count through the cash they moved, never twice."""
        securities = (
            row.market_value * self.rate(row.listing.currency)
            for row in self.holdings(code)
            if row.listing.sec_type != "CASH"
        )
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
            value = abs(quantity * price * value_per_point(held) * self.rate(held.currency))
            rates = MARGIN_RATES.get(held.sec_type, _FULL_VALUE)
            initial += value * (rates.initial_long if quantity > 0 else rates.initial_short)
            maintenance += value * (rates.maintenance_long if quantity > 0 else rates.maintenance_short)
        return initial, maintenance

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
            (
                abs(row.market_value) * self.rate(row.listing.currency)
                for row in holdings
                if row.listing.sec_type != "CASH"
            ),
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

            def total(attribute: str, rows: list[HoldingValue] = in_it, base: bool = base) -> Decimal:
                return sum(
                    (getattr(row, attribute) * (self.rate(row.listing.currency) if base else 1) for row in rows), _ZERO
                )

            cash = self.total_cash(code) if base else account.cash.get(currency, _ZERO)
            stocks = sum(
                (
                    row.market_value * (self.rate(row.listing.currency) if base else 1)
                    for row in in_it
                    if row.listing.sec_type != "CASH"
                ),
                _ZERO,
            )
            amounts = {
                "CashBalance": money(cash),
                "Currency": currency,
                "ExchangeRate": "1.00" if base else money(self.rate(currency), places=_BEYOND_CENT),
                "NetLiquidationByCurrency": money(cash + stocks),
                "RealizedPnL": money(total("realized")),
                "StockMarketValue": money(stocks),
                "TotalCashBalance": money(cash),
                "UnrealizedPnL": money(total("unrealized")),
            }
            rows += [AccountValue(tag=tag, value=value, currency=currency) for tag, value in amounts.items()]
        return rows


def value_per_point(listing: Listing) -> Decimal:
    """What one unit of price is worth per contract, in the listing's currency; a London share quotes pence."""
    return Decimal(listing.multiplier or 1) / listing.price_magnifier


def commission_currency_of(listing: Listing) -> str:
    return BASE_CURRENCY if listing.sec_type == "CASH" else listing.currency


def commission_for(listing: Listing, *, quantity: Decimal, value: Decimal) -> Decimal:
    """IBKR's fixed schedule for a whole order, so far: 0.005 a share and at least 1.00; pairs 0.2 basis points, 2.00.

    `value` is price times quantity, in the listing's currency.
    """
    if listing.sec_type == "CASH":
        return max(cents(value * Decimal("0.00002")), Decimal("2.00"))
    return max((quantity * Decimal("0.005")).quantize(Decimal("0.0001")), Decimal("1.00"))


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, rounding=ROUND_HALF_EVEN)


def money(amount: Decimal, *, places: Decimal = _CENT) -> str:
    return format(amount.quantize(places, rounding=ROUND_HALF_EVEN), "f")


def _ratio(part: Decimal, whole: Decimal) -> str:
    return money(part / whole, places=Decimal("0.0001")) if whole else "0"


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
