"""How instruments without a history move: a table of walks by contract id, and of currencies."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, kw_only=True)
class Walk:
    base: Decimal
    """The price at which replay day 0 opens, as the exchange quotes it."""
    beta: float
    """The part that it takes in the market's moves."""
    noise: float
    """The standard deviation of a day's own move, 0.01 for 1 %."""
    volume: int
    """Of an average day; unused for indices."""
    kin: str = ""
    """Walks of the same kin share their noise: one company's listings on two exchanges, an index and its futures."""


def _walk(base: str, beta: float, noise: float, volume: int, kin: str = "") -> Walk:
    return Walk(base=Decimal(base), beta=beta, noise=noise, volume=volume, kin=kin)


WALKS = {
    4815747: _walk("12.60", 1.3, 0.020, 15_000_000),  # NVDA
    76792991: _walk("24.00", 1.2, 0.025, 4_000_000),  # TSLA
    208813719: _walk("466.00", 1.0, 0.012, 3_000_000, "ALPHABET"),  # GOOGL
    3691937: _walk("80.00", 1.1, 0.018, 8_000_000),  # AMZN
    107113386: _walk("38.00", 1.2, 0.020, 20_000_000),  # META
    15124833: _walk("30.00", 0.9, 0.025, 2_500_000),  # NFLX
    4391: _walk("5.80", 1.3, 0.025, 18_000_000),  # AMD
    270639: _walk("22.50", 1.0, 0.012, 50_000_000),  # INTC
    268084: _walk("23.80", 1.0, 0.012, 45_000_000),  # CSCO
    272800: _walk("21.60", 0.9, 0.012, 30_000_000),  # ORCL
    1520593977: _walk("38.50", 1.3, 0.018, 35_000_000),  # JPM
    10098: _walk("31.50", 1.5, 0.022, 60_000_000),  # BAC
    49462172: _walk("75.00", 0.9, 0.012, 8_000_000),  # V
    72063691: _walk("78.00", 0.6, 0.008, 3_000_000),  # BRK B
    13977: _walk("78.50", 0.8, 0.010, 28_000_000, "OIL"),  # XOM
    8719: _walk("70.50", 0.5, 0.007, 12_000_000),  # JNJ
    11031: _walk("19.10", 0.6, 0.009, 45_000_000),  # PFE
    13272: _walk("30.00", 0.7, 0.014, 10_000_000),  # UNH
    8894: _walk("52.00", 0.5, 0.007, 14_000_000),  # KO
    11017: _walk("70.00", 0.5, 0.007, 13_000_000),  # PG
    13824: _walk("59.00", 0.5, 0.009, 20_000_000),  # WMT
    6459: _walk("32.30", 0.9, 0.010, 11_000_000),  # DIS
    4762: _walk("65.50", 1.0, 0.013, 7_000_000),  # BA
    5437: _walk("70.50", 1.1, 0.013, 8_000_000),  # CAT
    7516: _walk("28.00", 1.1, 0.012, 60_000_000),  # GE
    37018770: _walk("32.00", 0.7, 0.009, 25_000_000),  # T
    756733: _walk("128.00", 0.8, 0.003, 200_000_000, "S&P 500"),  # SPY
    416904: _walk("1280.00", 0.8, 0.003, 0, "S&P 500"),  # SPX
    320227571: _walk("46.00", 0.95, 0.003, 120_000_000, "NASDAQ 100"),  # QQQ
    416843: _walk("1870.00", 0.95, 0.003, 0, "NASDAQ 100"),  # NDX
    73128548: _walk("115.50", 0.75, 0.003, 15_000_000),  # DIA
    9579970: _walk("73.50", 0.95, 0.006, 60_000_000),  # IWM
    51529211: _walk("81.50", 0.0, 0.011, 9_000_000, "GOLD"),  # GLD
    15547841: _walk("94.50", -0.25, 0.006, 4_000_000),  # TLT
    117589399: _walk("24.00", 0.9, 0.015, 2_000_000, "ASML"),  # ASML in New York
    117902840: _walk("16.50", 0.9, 0.015, 6_000_000, "ASML"),  # ASML in Amsterdam
    4198: _walk("16.20", 1.0, 0.018, 600_000),  # AAR
    29612193: _walk("14.60", 1.0, 0.016, 4_000_000, "AIRBUS"),  # Airbus in Paris
    900000001: _walk("14.60", 1.0, 0.016, 700_000, "AIRBUS"),  # Airbus in Frankfurt
    4853: _walk("69.00", 1.0, 0.016, 5_000_000, "BHP"),  # BHP in New York
    4036812: _walk("40.50", 1.0, 0.016, 15_000_000, "BHP"),  # BHP in Sydney
    900000002: _walk("1930.00", 1.0, 0.016, 8_000_000, "BHP"),  # BHP in London, in pence
    195014116: _walk("28.50", 1.2, 0.025, 3_000_000, "SHOPIFY"),
    900000003: _walk("30.40", 1.2, 0.025, 1_500_000, "SHOPIFY"),  # in Toronto
    14204: _walk("38.00", 0.8, 0.010, 5_000_000),  # SAP
    29612142: _walk("350.00", 1.1, 0.020, 60_000_000),  # BARC, in pence
    29612249: _walk("72.00", 0.9, 0.012, 1_500_000),  # LVMH
    50495430: _walk("48.50", 0.4, 0.008, 9_000_000),  # NESN
    900000004: _walk("59.00", 0.5, 0.011, 2_500_000),  # NOVO.B
    14016545: _walk("4870.0", 0.7, 0.013, 9_000_000),  # 7203
    152791428: _walk("66.00", 0.8, 0.020, 8_000_000),  # 700
    900000005: _walk("52000", 0.7, 0.014, 12_000_000),  # 005930
    900000006: _walk("310.00", 1.2, 0.022, 25_000_000),  # GLEN, in pence
    900000007: _walk("96.00", 0.9, 0.018, 1_200_000),  # VOW3
    479624278: _walk("61200.00", 0.6, 0.030, 9_000),  # BTC
    800000000: _walk("1280.00", 0.8, 0.003, 2_000_000, "S&P 500"),  # ES
    801000000: _walk("1870.00", 0.95, 0.003, 400_000, "NASDAQ 100"),  # NQ
    802000000: _walk("109.70", 0.5, 0.020, 300_000, "OIL"),  # CL
    803000000: _walk("828.50", 0.0, 0.011, 150_000, "GOLD"),  # GC
}
"""By contract id; the levels are roughly those of September 2008, the default beginning of the replay."""

DEFAULT_WALK = _walk("100", 0.8, 0.012, 1_000_000)


@dataclass(frozen=True, kw_only=True)
class CurrencyWalk:
    dollars: float
    """What one unit cost in US dollars as replay day 0 opened."""
    noise: float
    """The standard deviation of a day's move."""
    kin: str = ""
    """The currency that it moves with, if it is tied to one."""


CURRENCIES = {
    "EUR": CurrencyWalk(dollars=1.45, noise=0.006),
    "GBP": CurrencyWalk(dollars=1.79, noise=0.006),
    "AUD": CurrencyWalk(dollars=0.845, noise=0.008),
    "NZD": CurrencyWalk(dollars=0.69, noise=0.008),
    "CAD": CurrencyWalk(dollars=1 / 1.068, noise=0.006),
    "CHF": CurrencyWalk(dollars=1 / 1.108, noise=0.006),
    "JPY": CurrencyWalk(dollars=1 / 108.5, noise=0.006),
    "DKK": CurrencyWalk(dollars=1.45 / 7.458, noise=0.006, kin="EUR"),
    "HKD": CurrencyWalk(dollars=1 / 7.805, noise=0.0002),
    "KRW": CurrencyWalk(dollars=1 / 1120.0, noise=0.006),
}
