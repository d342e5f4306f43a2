"""Moments as IBKR and its callers write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_TWS = re.compile(r"(\d{8})([ -])(\d{2}:\d{2}(?::\d{2})?)(?: (\S+))?")


def parse_moment(text: str) -> datetime | None:
    """`20261120 15:30:00 US/Eastern`, `20261120-20:30:00` (UTC) or RFC 3339; aware UTC.

    None when it cannot be read or does not say its zone: nothing is guessed.
    """
    words = text.strip()
    match = _TWS.fullmatch(words)
    try:
        if match is None:
            moment = datetime.fromisoformat(words)
            return None if moment.tzinfo is None else moment.astimezone(UTC)
        day, separator, time_of_day, zone = match.groups()
        if (separator == "-") is (zone is not None):
            return None
        form = "%Y%m%d %H:%M:%S" if len(time_of_day) == len("hh:mm:ss") else "%Y%m%d %H:%M"
        local = datetime.strptime(f"{day} {time_of_day}", form).replace(tzinfo=ZoneInfo(zone) if zone else UTC)
        return local.astimezone(UTC)
    except (ValueError, OverflowError, ZoneInfoNotFoundError):
        return None


def tws_moment(moment: datetime) -> str:
    """`20261120-20:30:00`: UTC, the spelling that every TWS of our versions reads without asking for a zone."""
    return f"{moment.astimezone(UTC):%Y%m%d-%H:%M:%S}"
