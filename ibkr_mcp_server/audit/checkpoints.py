"""Checkpoints: heads of the chain, signed with a key that is not in the store and kept in a second place (AUD-05).

The chain alone shows careless tampering; whoever may write to the store can compute another. Who cannot write to the
checkpoint file, or does not have its key, can neither rewrite what a checkpoint has seen nor cut it off unnoticed.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from ibkr_mcp_server.audit.chain import Head
from ibkr_mcp_server.store.columns import rfc3339


@dataclass(frozen=True, kw_only=True)
class Newest:
    """What the checkpoint file says."""

    head: Head | None
    """Of the newest checkpoint; None when there is none."""
    problem: str | None = None
    """Why the file is not to be trusted."""


class CheckpointFile:
    """A file of signed heads, one JSON object a line; lines are only added."""

    def __init__(self, *, path: Path, key: Path) -> None:
        self.path = path
        self._key_path = key

    def add(self, head: Head, at: datetime) -> None:
        """Sign `head` and make it durable. Blocks.

        Raises:
            OSError: the file or its key cannot be used.
            ValueError: the key is not one.
        """
        entry = {"seq": head.seq, "hash": head.hash, "at": rfc3339(at)}
        line = json.dumps({**entry, "mac": _mac(self._key(make=True), entry)}) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, line.encode("ascii"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def newest(self) -> Newest:
        """The newest checkpoint, if every one of them was signed with the key. Blocks."""
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return Newest(head=None)
        except OSError as error:
            return Newest(head=None, problem=f"The checkpoints {self.path} cannot be read: {error.strerror}.")
        try:
            key = self._key(make=False)
        except (OSError, ValueError):
            return Newest(head=None, problem=f"The key {self._key_path} of the checkpoints is missing or no key.")
        head = None
        for number, (found, is_signed) in enumerate(_read(lines, key), 1):
            if found is None or not is_signed:
                return Newest(head=head, problem=f"Line {number} of the checkpoints {self.path} was not signed here.")
            head = found if head is None or found.seq > head.seq else head
        return Newest(head=head)

    def _key(self, *, make: bool) -> bytes:
        if make:
            with suppress(FileExistsError):
                descriptor = os.open(self._key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    file.write(secrets.token_hex(32) + "\n")
        key = bytes.fromhex(self._key_path.read_text(encoding="ascii").strip())
        if len(key) < 32:
            raise ValueError("the key is shorter than 32 bytes")
        return key


def _read(lines: list[str], key: bytes) -> Iterator[tuple[Head | None, bool]]:
    for line in lines:
        try:
            entry = json.loads(line)
            mac = entry.pop("mac")
            head = Head(int(entry["seq"]), str(entry["hash"]))
            yield head, hmac.compare_digest(str(mac), _mac(key, entry))
        except (ValueError, TypeError, LookupError, AttributeError):
            yield None, False


def _mac(key: bytes, entry: dict[str, object]) -> str:
    return hmac.new(key, json.dumps(entry, sort_keys=True).encode("utf-8"), sha256).hexdigest()
