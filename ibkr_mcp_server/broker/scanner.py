"""Market scans, and the vocabulary in which they are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from xml.etree import ElementTree

from ibkr_mcp_server.broker.library import ib_async
from ibkr_mcp_server.broker.session import Session
from ibkr_mcp_server.domain.research import ScannerVocabulary, ScannerWord, ScanQuery, ScanRow
from ibkr_mcp_server.errors import Unavailable

LONGEST_VOCABULARY = 16_000_000
"""Characters; IBKR's is about 2,000,000."""


class Scanner:
    """The scans of one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._vocabulary: ScannerVocabulary | None = None

    async def vocabulary(self) -> ScannerVocabulary:
        """See `BrokerReads.scanner_vocabulary`; it does not change while the gateway runs."""
        if self._vocabulary is None:
            (text,) = await self._session.unnumbered("scanner parameters", self._session.client.reqScannerParameters)
            self._vocabulary = await asyncio.to_thread(vocabulary_of, text)
        return self._vocabulary

    async def scan(self, query: ScanQuery) -> list[ScanRow]:
        """See `BrokerReads.scan`."""
        client, wanted = self._session.client, subscription_for(query)
        filters = [ib_async.TagValue(tag, value) for tag, value in query.filters.items()]
        rows: list[ScanRow] = await self._session.numbered(
            f"the scan {query.scan_code}",
            lambda req_id: client.reqScannerSubscription(req_id, wanted, [], filters),
            cancel=client.cancelScannerSubscription,
        )
        return sorted(rows, key=lambda row: row.rank)[: query.rows]


def subscription_for(query: ScanQuery) -> ib_async.ScannerSubscription:
    """The library's request; what is not asked for stays unset."""
    wanted = ib_async.ScannerSubscription(
        numberOfRows=query.rows,
        instrument=query.instrument,
        locationCode=query.location_code,
        scanCode=query.scan_code,
    )
    for name, value in (
        ("abovePrice", query.above_price),
        ("belowPrice", query.below_price),
        ("marketCapAbove", query.market_cap_above),
        ("marketCapBelow", query.market_cap_below),
    ):
        if value is not None:
            setattr(wanted, name, float(value))
    if query.above_volume is not None:
        wanted.aboveVolume = query.above_volume
    return wanted


def vocabulary_of(text: str) -> ScannerVocabulary:
    """The codes in the XML of the scanner parameters.

    Raises:
        Unavailable: it is no such XML.
    """
    try:
        # A document type could declare entities that grow without bound; the broker's has none.
        if len(text) > LONGEST_VOCABULARY or "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise ValueError("not a plain document")
        root = ElementTree.fromstring(text)  # noqa: S314 - it declares no entities
    except (ElementTree.ParseError, ValueError) as error:
        raise Unavailable(
            "BROKER_REFUSED",
            "The broker's list of scanner parameters cannot be read.",
            next_step="Use scan codes that you know, such as TOP_PERC_GAIN.",
        ) from error
    return ScannerVocabulary(
        instruments=_unique(_words(root, "InstrumentList//Instrument", code="type", name="name")),
        locations=_unique(_words(root, "LocationTree//Location", code="locationCode", name="displayName")),
        scan_codes=_unique(_words(root, "ScanTypeList//ScanType", code="scanCode", name="displayName")),
        filters=_unique(_words(root, "FilterList//AbstractField", code="code", name="displayName")),
    )


def _words(root: ElementTree.Element, path: str, *, code: str, name: str) -> Iterator[ScannerWord]:
    for element in root.findall(f".//{path}"):
        word = element.findtext(code, "").strip()
        if word:
            yield ScannerWord(
                code=word,
                name=element.findtext(name, "").strip(),
                instruments=tuple(filter(None, element.findtext("instruments", "").replace(" ", "").split(","))),
            )


def _unique(words: Iterator[ScannerWord]) -> tuple[ScannerWord, ...]:
    found: dict[str, ScannerWord] = {}
    for word in words:
        known = found.setdefault(word.code, word)
        if known is not word:  # listed once per kind of instrument
            kinds = tuple(dict.fromkeys((*known.instruments, *word.instruments)))
            found[word.code] = ScannerWord(code=known.code, name=known.name, instruments=kinds)
    return tuple(found.values())
