"""Moments as TWS writes them (tws-wire guide, sections 7 and 9)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ibkr_mcp_server.clock import NEW_YORK

_ZONE_NAME = "US/Eastern"
_NEWS_MOMENT = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d:\d\d:\d\d)(?:\.\d+)?")
_MOMENT = re.compile(r"(\d{8})(?:([ -])(\d{2}:\d{2}(?::\d{2})?))?(?: (\S+))?")


def eastern(moment: datetime) -> str:
    """`20260413 15:27:04 US/Eastern`."""
    return f"{moment.astimezone(NEW_YORK):%Y%m%d %H:%M:%S} {_ZONE_NAME}"


def compact_utc(moment: datetime) -> str:
    """`20260413-19:27:04`, which is UTC."""
    return f"{moment.astimezone(UTC):%Y%m%d-%H:%M:%S}"


def parse_moment(text: str) -> datetime:
    """A moment in any of the spellings clients use, aware UTC; without a zone it is New York's, with a dash UTC.

    Raises:
        ValueError: the text is no moment, or names an unknown zone.
    """
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a date and time")
    day, separator, time_of_day, zone_name = match.groups()
    clock = (time_of_day or "00:00") + ("" if time_of_day and len(time_of_day) == 8 else ":00")
    try:
        zone = ZoneInfo(zone_name) if zone_name else UTC if separator == "-" else NEW_YORK
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"{zone_name!r} is not a time zone") from error
    return datetime.strptime(f"{day} {clock}", "%Y%m%d %H:%M:%S").replace(tzinfo=zone).astimezone(UTC)


def parse_news_moment(text: str) -> datetime:
    """A moment as reqHistoricalNews spells it, `2026-11-20 14:30:00.0`, which is UTC; the other spellings pass too.

    Raises:
        ValueError: the text is no moment, or names an unknown zone.
    """
    match = _NEWS_MOMENT.fullmatch(text.strip())
    return parse_moment("{}{}{}-{}".format(*match.groups()) if match else text)
