"""A process that reserves intents with their audit records for as long as it lives, telling each one once durable."""

from __future__ import annotations

import sys

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import SystemClock
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.database import Database
from tests.stores import an_audit_log, an_event, an_intent


def main(url: str, count: int) -> None:
    clock = SystemClock()
    database = Database.open(url)
    log = an_audit_log(database, clock)
    for _ in range(count):
        intent = an_intent(clock)

        def work(connection: Connection, intent: intents.Intent = intent) -> None:
            intents.reserve(connection, intent)
            log.append(connection, an_event(type=EventType.INTENT_RESERVED, intent_id=intent.intent_id))

        database.run_blocking(work)
        print(intent.intent_id, flush=True)
    database.close()


main(sys.argv[1], int(sys.argv[2]))
