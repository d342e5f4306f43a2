"""The keys of the control API: who holds one, for which role, and until when (SIG-05, SIG-06).

A key is shared by this process and one caller. Its role says which paths it opens, so that whoever may stop cannot
resume (T-15); its id is what the audit log names as the actor.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from ibkr_mcp_server.errors import ConfigurationError
from ibkr_mcp_server.settings.model import Settings

FEWEST_BYTES = 32
FEWEST_DIFFERENT = 10
"""Different characters that 32 random bytes have, in whatever form, unless luck beyond reckoning is at work."""
WEBHOOK_PREFIX = "whsec_"
"""Begins the secrets of Standard Webhooks, which are base64."""
KEY_ID = re.compile(r"[A-Za-z0-9_.:-]{1,40}")


class Role(StrEnum):
    """What a key opens; no role includes another."""

    TRIGGER = "trigger"
    STATUS = "status"
    RESET = "reset"


@dataclass(frozen=True, kw_only=True)
class Key:
    """One shared secret."""

    id: str
    role: Role
    secret: bytes = field(repr=False)
    not_before: datetime | None = None
    not_after: datetime | None = None

    def holds_at(self, now: datetime) -> bool:
        """Whether it is in force; at both ends inclusive, so that an old and a new key can overlap."""
        begun = self.not_before is None or now >= self.not_before
        return begun and (self.not_after is None or now <= self.not_after)


def keys_of(settings: Settings) -> tuple[Key, ...]:
    """All keys of this configuration.

    Raises:
        ConfigurationError: there is no trigger key, or one of them cannot be trusted. No secret is ever quoted.
    """
    problems: list[str] = []
    keys = []
    for where, role, given in (
        ("IBKR_KILL_SWITCH_SECRET", Role.TRIGGER, settings.kill_switch_secret),
        ("IBKR_CONTROL_STATUS_SECRET", Role.STATUS, settings.control_status_secret),
        ("IBKR_CONTROL_RESET_SECRET", Role.RESET, settings.control_reset_secret),
    ):
        if given is not None:
            keys.append(_key(where, str(role), role, given.get_secret_value(), problems))
    if settings.control_keys_file is not None:
        keys += _from_file(settings.control_keys_file, problems)
    found = tuple(key for key in keys if key is not None)
    problems += _problems_together(found)
    if not problems and not any(key.role is Role.TRIGGER for key in found):
        problems.append(
            "The control API has no trigger key: set IBKR_KILL_SWITCH_SECRET to 32 random bytes (openssl rand -hex 32)."
        )
    if problems:
        raise ConfigurationError(problems)
    return found


def are_configured(settings: Settings) -> bool:
    """Whether somebody set a key of the control API, good or not."""
    secrets = (settings.kill_switch_secret, settings.control_status_secret, settings.control_reset_secret)
    return settings.control_keys_file is not None or any(secret is not None for secret in secrets)


def roles_out_of_force(keys: Iterable[Key], now: datetime) -> tuple[Role, ...]:
    """Roles that have keys, of which none holds now: all have expired or not begun."""
    known = tuple(keys)
    return tuple(
        role
        for role in Role
        if any(key.role is role for key in known) and not any(key.role is role and key.holds_at(now) for key in known)
    )


def _problems_together(keys: Iterable[Key]) -> Iterator[str]:
    ids: set[str] = set()
    holder: dict[bytes, Key] = {}
    for key in keys:
        if key.id in ids:
            yield f"The control API has two keys with the id {key.id!r}; each needs its own."
        ids.add(key.id)
        other = holder.setdefault(key.secret, key)
        if other.id != key.id:
            yield f"The keys {other.id!r} and {key.id!r} share a secret; whoever has one would have both."


def _key(where: str, id: str, role: Role, text: str, problems: list[str], **times: datetime | None) -> Key | None:
    weakness = weakness_of(text)
    if weakness:
        problems.append(f"{where} {weakness}; make one with: openssl rand -hex 32")
        return None
    return Key(id=id, role=role, secret=_bytes_of(text), **times)


def weakness_of(text: str) -> str | None:
    """Why `text` cannot be 32 random bytes in hexadecimal, base64 or any other printable form; None if it can."""
    body = text.removeprefix(WEBHOOK_PREFIX)
    if not text:
        return "is empty"
    if not text.isascii() or not text.isprintable() or " " in text:
        return "holds other than printable ASCII characters"
    if text != body:
        try:
            size = len(base64.b64decode(body, validate=True))
        except binascii.Error:
            return f"begins with {WEBHOOK_PREFIX} and is not base64"
    elif re.fullmatch(r"[0-9A-Fa-f]+", body):
        size = len(body) // 2
    else:
        size = len(body) * 6 // 8  # as base64 would carry them
    if size < FEWEST_BYTES:
        return f"holds fewer than {FEWEST_BYTES} bytes"
    if len(set(body)) < FEWEST_DIFFERENT or (body + body).find(body, 1) < len(body):
        return "repeats itself; it is not random"
    return None


def _bytes_of(text: str) -> bytes:
    if text.startswith(WEBHOOK_PREFIX):
        return base64.b64decode(text.removeprefix(WEBHOOK_PREFIX))
    return text.encode("ascii")  # the text itself, as `openssl dgst -hmac` takes it


def _from_file(path: Path, problems: list[str]) -> list[Key | None]:
    where = f"The key file {path}"
    try:
        with path.open("rb") as file:
            found, text = os.fstat(file.fileno()), file.read()
        entries = tomllib.loads(text.decode("utf-8"))
    except OSError as error:
        problems.append(f"{where} cannot be read: {error.strerror}.")
        return []
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        problems.append(f"{where} is not TOML.")  # what the parser says might quote a secret
        return []
    if os.name == "posix":
        if found.st_uid not in (0, os.geteuid()):
            problems.append(f"{where} belongs to another user (number {found.st_uid}); use a file of your own.")
        if stat.S_IMODE(found.st_mode) & 0o077:
            problems.append(f"Other users can reach {path}; run: chmod 600 '{path}'")
    listed = entries.get("key")
    if entries.keys() - {"key"} or not isinstance(listed, list) or not listed:
        problems.append(f"{where} holds something else than [[key]] tables.")
        return []
    return [_entry(f"Key {number} of {path}", entry, problems) for number, entry in enumerate(listed, 1)]


def _entry(where: str, entry: dict[str, Any], problems: list[str]) -> Key | None:  # Any: TOML
    unknown = sorted(entry.keys() - {"id", "role", "secret", "not_before", "not_after"})
    if unknown:
        problems.append(f"{where} has unknown entries: {', '.join(unknown)}.")
        return None
    id, role, secret = (entry.get(name) for name in ("id", "role", "secret"))
    times = {name: entry.get(name) for name in ("not_before", "not_after")}
    if not isinstance(id, str) or not KEY_ID.fullmatch(id):
        problems.append(f"{where} needs an id of 1 to 40 letters, digits and _.:-")
    elif role not in list(Role):
        problems.append(f"{where} needs a role: {', '.join(Role)}.")
    elif not isinstance(secret, str):
        problems.append(f"{where} needs a secret.")
    elif any(time is not None and (not isinstance(time, datetime) or time.tzinfo is None) for time in times.values()):
        problems.append(f"{where}: not_before and not_after are times with a zone, such as 2026-12-01T00:00:00Z.")
    else:
        return _key(where, id, Role(role), secret, problems, **times)
    return None
