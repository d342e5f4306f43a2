"""Scanners: the market's own instruments, filtered and ranked by their own quotes (tws-wire guide, section 8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ibkr_mcp_server.simulator import replies, research_replies
from ibkr_mcp_server.simulator.feeds import Client
from ibkr_mcp_server.simulator.instruments import Catalogue
from ibkr_mcp_server.simulator.market import Market
from ibkr_mcp_server.simulator.requests import Request
from ibkr_mcp_server.simulator.research_requests import CancelScanner, ReqScanner, ReqScannerParameters
from ibkr_mcp_server.simulator.scanners import MOST_ROWS, Scan, parameters_xml
from ibkr_mcp_server.simulator.stream_feeds import ScannerFeed

SCANNERS = 10
NO_MATCH = "Historical Market Data Service query message:no items retrieved"


class ScannerDesk:
    def __init__(self, *, catalogue: Catalogue, market: Market) -> None:
        self._catalogue = catalogue
        self._market = market
        # The handlers' second parameter is the request type that is their key, which `Any` stands for.
        self.handlers: dict[type[Request], Callable[[Client, Any], None]] = {
            ReqScannerParameters: self._parameters,
            ReqScanner: self._subscribe,
            CancelScanner: self._cancel,
        }

    def push(self, client: Client) -> None:
        """Every scanner's rows as they are now; TWS repeats them about every half minute."""
        for feed in client.scanners.values():
            self._send_rows(client, feed)

    def _parameters(self, client: Client, request: ReqScannerParameters) -> None:
        client.send(research_replies.scanner_parameters(parameters_xml(self._catalogue)))

    def _subscribe(self, client: Client, request: ReqScanner) -> None:
        if request.req_id in client.scanners:
            text = "Error processing request.-'bK' : cause - Duplicate scanner subscription"
            client.send(replies.error(request.req_id, 322, text))
            return
        if len(client.scanners) >= SCANNERS:
            text = f"Error processing request.-'bK' : cause - Only {SCANNERS} simultaneous scanner subscriptions"
            client.send(replies.error(request.req_id, 322, text))
            return
        try:
            scan = Scan.of(request, self._catalogue)
        except ValueError as error:
            text = f"Historical Market Data Service error message:{error}"
            client.send(replies.error(request.req_id, 162, text))
            return
        feed = ScannerFeed(req_id=request.req_id, scan=scan, rows=request.rows)
        client.scanners[request.req_id] = feed
        self._send_rows(client, feed)

    def _send_rows(self, client: Client, feed: ScannerFeed) -> None:
        found = feed.scan.rows(self._catalogue, self._market)
        if not found:
            client.send(replies.error(feed.req_id, 165, NO_MATCH))
        rows = MOST_ROWS if feed.rows < 0 else min(feed.rows, MOST_ROWS)
        client.send(research_replies.scanner_data(feed.req_id, found[:rows]))

    def _cancel(self, client: Client, request: CancelScanner) -> None:
        if client.scanners.pop(request.req_id, None) is None:
            text = f"No scanner subscription found for ticker id:{request.req_id}"
            client.send(replies.error(request.req_id, 365, text))
