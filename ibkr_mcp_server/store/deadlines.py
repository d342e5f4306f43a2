"""How long ago something durable began, and until when it holds: by the machine's own time, which nobody sets back.

Under another boot the wall clock decides.
"""

from __future__ import annotations

from datetime import datetime

from ibkr_mcp_server.clock import Clock


def elapsed_seconds(clock: Clock, *, began_at: datetime, monotonic: float, boot_id: str) -> float:
    """Since these readings were taken; below 0 if that seems to be in the future."""
    return clock.monotonic() - monotonic if boot_id == clock.boot_id else (clock.now() - began_at).total_seconds()


def left_seconds(clock: Clock, *, began_at: datetime, monotonic: float, boot_id: str, seconds: float) -> float:
    """What is left of `seconds` that began at these readings; 0 when they are over, or seem to begin in the future."""
    elapsed = elapsed_seconds(clock, began_at=began_at, monotonic=monotonic, boot_id=boot_id)
    return 0.0 if elapsed < 0 else max(0.0, seconds - elapsed)
