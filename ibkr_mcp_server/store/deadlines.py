"""Until when something durable holds: by the machine's own time, which nobody sets back.

Under another boot the wall clock decides, and what seems to have begun in the future has ended.
"""

from __future__ import annotations

from datetime import datetime

from ibkr_mcp_server.clock import Clock


def left_seconds(clock: Clock, *, began_at: datetime, monotonic: float, boot_id: str, seconds: float) -> float:
    """What is left of `seconds` that began at these readings; 0 when they are over."""
    same_boot = boot_id == clock.boot_id
    elapsed = clock.monotonic() - monotonic if same_boot else (clock.now() - began_at).total_seconds()
    return 0.0 if elapsed < 0 else max(0.0, seconds - elapsed)
