"""Says in every status and in the audit log why the control API cannot be used (SIG-05, invariant 10).

Only in general words: agents read the status too. What exactly is wrong stands on stderr, and `ibkr-mcp-server control`
names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.control.keys import Key, are_configured, keys_of, roles_out_of_force
from ibkr_mcp_server.domain.operations import SYSTEM
from ibkr_mcp_server.errors import ConfigurationError, ProductError
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.overrides import CONTROL_API
from ibkr_mcp_server.settings.model import Settings

LOOK_SECONDS = 60.0
"""How often the times of the keys are looked at."""
NO_KEY = "The control API is off: it has no key. The other ways to stop remain."
BAD_KEY = (
    "The control API is off: a key is missing or cannot be trusted, and `ibkr-mcp-server control` names it. The other "
    "ways to stop remain."
)
NO_PORT = "The control API is off: its port cannot be listened on. The other ways to stop remain."


async def tell(desk: Desk, sentence: str | None) -> None:
    """Let every status say it, and record it when it is news; None when nothing is wrong any more."""
    if desk.notices.tell(CONTROL_API, sentence) and sentence is not None:
        outcome = {"control": CONTROL_API, "reason": sentence}
        with suppress(ProductError, OSError):  # a store that cannot be written is told by others, and stops trading
            await desk.audit.record(AuditEvent(type=EventType.CONTROL_DISABLED, actor=SYSTEM, outcome=outcome))


async def watch_keys(desk: Desk, keys: Sequence[Key]) -> None:
    """Notice, until cancelled, when no key of a role is in force any more."""
    while True:
        gone = roles_out_of_force(keys, desk.clock.now())
        names = " and ".join(gone)
        await tell(
            desk, f"No {names} key of the control API is in force: see not_before and not_after." if gone else None
        )
        await desk.clock.sleep(LOOK_SECONDS)


def why_off(settings: Settings) -> str:
    """The sentence for keys that `keys_of` refused."""
    return BAD_KEY if are_configured(settings) else NO_KEY


async def tell_of_bad_keys(desk: Desk) -> None:
    """For a server without the API beside it: keys that somebody set and that nobody could use are told, too."""
    if not are_configured(desk.settings):
        return
    try:
        keys_of(desk.settings)
    except ConfigurationError:
        await tell(desk, BAD_KEY)
