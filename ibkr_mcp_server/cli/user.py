"""Who sits at the shell: a claimed name, and a terminal at which only a person can type."""

from __future__ import annotations

import getpass
import os
import sys
import warnings

from ibkr_mcp_server.errors import Refused


def local_user() -> str:
    """The login name: a claim, which nothing proves."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown user"


def typed_secret(prompt: str) -> str:
    """What a person types at the terminal of this process, without showing it.

    Raises:
        Refused: there is no terminal, so nobody can type; pipes and files are never read.
    """
    if not _has_terminal():
        raise _no_terminal()
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(prompt)
        except (EOFError, getpass.GetPassWarning) as error:
            raise _no_terminal() from error


def _has_terminal() -> bool:
    if os.name != "posix":
        return sys.stdin is not None and sys.stdin.isatty()
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _no_terminal() -> Refused:
    return Refused(
        "NO_TERMINAL",
        "The passphrase must be typed at a terminal, and this process has none.",
        next_step="Run the command in a terminal window of the machine that runs the server.",
    )
