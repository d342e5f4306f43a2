"""Stopping by a key in Redis: it can only activate (T-32, C-12).

While the key is there, the kill switch is on. Taking the key away ends nothing, and while Redis cannot be asked nothing
is opened, because the key might be there.
"""

from __future__ import annotations

import asyncio

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.kill_switch import KillSwitch
from ibkr_mcp_server.safety.state import Cause, SafetyState
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.latches import KillMode

LOOK_SECONDS = 0.05
"""How often the key is looked for."""
PATIENCE_SECONDS = 1.0
"""How long Redis may take to answer before it counts as out of reach."""
NOT_A_STOP = frozenset({b"", b"0", b"false", b"off", b"no"})
"""Values with which somebody says that it is not active; any other value, of any type, is a stop."""

REDIS = Actor(type=ActorType.HUMAN, id="redis key", auth="redis")

_log = get_logger(__name__)


class RedisSwitch:
    """Looks for the key for as long as the server runs."""

    def __init__(self, *, url: str, key: str, kill_switch: KillSwitch, database: Database, clock: Clock) -> None:
        self._url = url
        self._key = key
        self._kill_switch = kill_switch
        self._database = database
        self._clock = clock
        self._problem: str | None = "it was not asked yet"

    def causes(self) -> tuple[Cause, ...]:
        """Why nothing may be opened, while the key cannot be read."""
        if self._problem is None:
            return ()
        text = f"The kill switch's key in Redis cannot be read: {self._problem}."
        return (Cause(state=SafetyState.OBSERVE, code=Code.STOP_KEY_UNREADABLE, reason=text, is_latch=False),)

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            from redis.asyncio import Redis
            from redis.exceptions import RedisError, ResponseError
        except ImportError:
            self._problem = "the package redis is not installed (ibkr-mcp-server[redis])"
            return
        client = Redis.from_url(self._url, socket_timeout=PATIENCE_SECONDS, socket_connect_timeout=PATIENCE_SECONDS)
        try:
            while True:
                try:
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        try:
                            value = await client.get(self._key)
                        except ResponseError:  # it is there, and is no text
                            value = b"of another type"
                    self._problem = None
                    if value is not None and value.strip().lower() not in NOT_A_STOP:
                        await self._stop()
                except (RedisError, OSError, TimeoutError) as error:
                    self._problem = type(error).__name__  # its text may hold the URL, and with it a password
                except ProductError as error:
                    _log.error("the stop by Redis met a fault", error=str(error))
                await self._clock.sleep(LOOK_SECONDS)
        finally:
            await client.aclose()

    async def _stop(self) -> None:
        if not (await self._database.read(self._kill_switch.status)).latch.active:
            await self._kill_switch.activate(KillMode.HALT_ONLY, f"the key {self._key} is set in Redis", REDIS)
