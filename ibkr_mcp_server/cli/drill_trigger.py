"""The other process of a drill: stops what it is told to stop, and tells when it began and when it was through."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from ibkr_mcp_server.cli.workspace import Workspace, open_workspace
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.store.latches import KillMode

DRILL = Actor(type=ActorType.HUMAN, id="drill", auth="local-shell")


def main(state: Path) -> None:
    """Read scopes from stdin, one a line; answer each with two times, RFC 3339."""
    with open_workspace(load_settings(environ={"IBKR_STATE_DIR": str(state)})) as workspace:
        asyncio.run(_serve(workspace))


async def _serve(workspace: Workspace) -> None:
    _say("ready")
    while scope := (await asyncio.to_thread(sys.stdin.readline)).strip():
        begun = workspace.clock.now()
        await workspace.kill_switch.activate(KillMode.HALT_ONLY, "drill", DRILL, scope=scope)
        _say(f"{begun.isoformat()} {workspace.clock.now().isoformat()}")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the other process reads it


if __name__ == "__main__":
    main(Path(sys.argv[1]))
