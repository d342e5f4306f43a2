"""A person at a terminal, acted out: runs the program on a pseudo terminal and types when it asks.

For the demo and for tests. The program cannot tell the difference, and there is no other way in for a passphrase.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ibkr_mcp_server.errors import Unavailable

LONGEST_SILENCE_SECONDS = 20.0
"""A program that says nothing for so long waits for something that will not come."""

_TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "ibkr_mcp_server", *sys.argv[1:]])
"""
"""Makes the pseudo terminal the one behind /dev/tty, then becomes the program."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """What was to be seen on the screen, and how it ended."""

    exit_code: int
    screen: str


def at_terminal(
    arguments: Sequence[str], typed: Sequence[tuple[str, str]], *, environment: Mapping[str, str]
) -> Session:
    """Run `ibkr-mcp-server ARGUMENTS` at a terminal; at each prompt of `typed`, in order, type its answer. Blocks.

    Raises:
        Unavailable: this platform has no pseudo terminals.
        TimeoutError: the program fell silent.
    """
    try:
        import pty
    except ImportError as error:
        raise Unavailable(
            "NO_PSEUDO_TERMINAL", "This platform has no pseudo terminals.", next_step="Use Linux, macOS or WSL."
        ) from error
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-c", _TAKE_TERMINAL, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=dict(environment),
            start_new_session=True,  # a terminal belongs to a session
        )
        os.close(theirs)
        try:
            screen = _converse(ours, list(typed))
            return Session(exit_code=process.wait(LONGEST_SILENCE_SECONDS), screen=screen)
        except BaseException:
            process.kill()
            process.wait()
            raise
    finally:
        os.close(ours)


def _converse(terminal: int, typed: list[tuple[str, str]]) -> str:
    """All that appears on the terminal until the program lets go of it."""
    screen = seen = ""
    while text := _read(terminal):
        screen += text
        seen += text
        if typed and typed[0][0] in seen:
            # Only now: getpass throws away what was typed before it asked.
            os.write(terminal, f"{typed.pop(0)[1]}\n".encode())
            seen = ""
    return screen.replace("\r\n", "\n")


def _read(terminal: int) -> str:
    if not select.select([terminal], [], [], LONGEST_SILENCE_SECONDS)[0]:
        raise TimeoutError(f"the program said nothing for {LONGEST_SILENCE_SECONDS:.0f} s")
    with suppress(OSError):  # Linux reports the end of a terminal as an error
        return os.read(terminal, 4096).decode("utf-8", "replace")
    return ""
