"""The operators' credentials on the disk: for each a role, a slow hash, and perhaps a sealed key of one-time codes.

There is nothing in the file that proves anybody by itself: of a passphrase it holds a salted scrypt hash, and the key
of one-time codes is masked with the other half of that hash, so that only the passphrase opens it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from ibkr_mcp_server.errors import Fault, Refused, Unavailable
from ibkr_mcp_server.safety.roles import Role
from ibkr_mcp_server.state_dir import write_private

SHORTEST_PASSPHRASE = 12
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,39}")
FIRST_NAME = "operator"
"""Whom the single passphrase of earlier versions belongs to."""
_COST = {"n": 2**15, "r": 8, "p": 1}
"""scrypt parameters of RFC 7914's interactive class: about 32 MiB and 0.1 s for each attempt."""
_HALF = 32
_CODE_KEY_BYTES = 20
"""RFC 4226 recommends 160 bits."""
_LOCK_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Credential:
    """One person, as the file knows them; bytes are hexadecimal."""

    name: str
    role: Role
    salt: str
    hash: str
    cost: dict[str, int] = field(default_factory=lambda: dict(_COST))
    code_key: str = ""
    """Key of one-time codes, masked; empty when this person has none."""
    code_step: int = 0
    """The newest time step whose code was used: a code is good once."""
    since: str = ""

    @property
    def has_code(self) -> bool:
        return bool(self.code_key)


@dataclass(frozen=True, kw_only=True)
class Made:
    """A new credential, and the one-time-code key that its owner is shown once."""

    credential: Credential
    code_key: str | None
    """Base32, as authenticator programs take it."""


def make(name: str, role: Role, passphrase: str, *, now: datetime, with_code: bool) -> Made:
    """Raises Refused for a name or a passphrase that will not do."""
    if not NAME.fullmatch(name):
        raise Refused(
            "OPERATOR_NAME",
            f"{name[:60]!r} cannot be an operator's name.",
            next_step="Use 1 to 40 letters, digits and _ . @ -, beginning with a letter or a digit.",
        )
    key = secrets.token_bytes(_CODE_KEY_BYTES) if with_code else None
    credential = sealed(name, role, passphrase, code_key=key, since=now.isoformat(timespec="seconds"))
    return Made(credential=credential, code_key=None if key is None else base64.b32encode(key).decode())


def sealed(
    name: str, role: Role, passphrase: str, *, code_key: bytes | None, since: str, code_step: int = 0
) -> Credential:
    """A credential with a fresh salt: a mask must never cover two keys."""
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise Refused(
            "PASSPHRASE_TOO_SHORT",
            f"The passphrase has {len(passphrase)} characters; at least {SHORTEST_PASSPHRASE} are needed.",
            next_step="Choose a longer one, for instance four words.",
        )
    salt = secrets.token_bytes(16)
    proof, mask = _derived(passphrase, salt, _COST)
    return Credential(
        name=name,
        role=role,
        salt=salt.hex(),
        hash=proof.hex(),
        code_key="" if code_key is None else _masked(code_key, mask).hex(),
        code_step=code_step,
        since=since,
    )


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What a right passphrase gives access to."""

    code_key: bytes | None


def opened(credential: Credential | None, passphrase: str) -> Opened | None:
    """None for a wrong passphrase; takes as long for a person who does not exist."""
    if credential is None:
        _derived(passphrase, secrets.token_bytes(16), _COST)
        return None
    proof, mask = _derived(passphrase, bytes.fromhex(credential.salt), credential.cost)
    if not hmac.compare_digest(proof, bytes.fromhex(credential.hash)):
        return None
    key = _masked(bytes.fromhex(credential.code_key), mask) if credential.has_code else None
    return Opened(code_key=key)


def fresh_step(key: bytes, code: str, *, after: int, now: datetime) -> int | None:
    """The time step of a right code that is newer than `after`; None for any other code.

    The neighbouring steps count as well: clocks of telephones differ, and people type slowly.
    """
    from pyotp import TOTP  # loaded only where somebody has a one-time code

    codes = TOTP(base64.b32encode(key).decode())
    present = int(now.timestamp()) // codes.interval
    for step in (present - 1, present, present + 1):
        if step > after and hmac.compare_digest(codes.generate_otp(step), code.strip()):
            return step
    return None


class CredentialFile:
    """All credentials of one state directory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(str(path.with_suffix(".lock")), mode=0o600, thread_local=False)

    @property
    def exists(self) -> bool:
        return self._path.exists()

    def read(self) -> dict[str, Credential]:
        """By name; empty when nobody has a credential yet.

        Raises:
            Fault: there is a file, and it cannot be read as one of ours.
        """
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unreadable(error.strerror or "it cannot be opened") from error
        try:
            return {credential.name: credential for credential in _parsed(json.loads(text))}
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise self._unreadable(str(error)) from error

    @contextmanager
    def changing(self) -> Iterator[dict[str, Credential]]:
        """The credentials, to be changed in place; written when the body ends without an error."""
        try:
            self._lock.acquire(timeout=_LOCK_SECONDS)
        except Timeout as error:
            raise Unavailable("OPERATORS_BUSY", "Another process is changing the operators; try again.") from error
        try:
            credentials = self.read()
            before = dict(credentials)
            yield credentials
            if credentials != before:
                entries = [asdict(credential) for credential in credentials.values()]
                write_private(self._path, json.dumps({"scheme": "scrypt", "operators": entries}, indent=1) + "\n")
        finally:
            self._lock.release()

    def _unreadable(self, why: str) -> Fault:
        return Fault(
            "OPERATORS_UNREADABLE",
            f"The operators' file {self._path} cannot be read: {why}.",
            next_step="Restore it from a backup. Without it nobody can be proved; stopping still works.",
        )


def _parsed(stored: dict[str, object]) -> Iterator[Credential]:
    if stored.get("scheme") != "scrypt":
        raise ValueError("its scheme is not known")
    if "operators" not in stored:  # the one passphrase of earlier versions could do everything
        cost = {name: int(str(stored[name])) for name in _COST}
        yield Credential(
            name=FIRST_NAME, role=Role.ADMIN, salt=str(stored["salt"]), hash=str(stored["hash"]), cost=cost
        )
        return
    entries = stored["operators"]
    if not isinstance(entries, list):
        raise TypeError("its list of operators is none")
    for entry in entries:
        yield Credential(**(entry | {"role": Role(entry["role"])}))


def _derived(passphrase: str, salt: bytes, cost: dict[str, int]) -> tuple[bytes, bytes]:
    """What is stored to recognise the passphrase, and the mask of the code key; neither tells the other."""
    both = hashlib.scrypt(
        passphrase.encode("utf-8"),
        salt=salt,
        n=cost["n"],
        r=cost["r"],
        p=cost["p"],
        maxmem=128 * 1024 * 1024,
        dklen=2 * _HALF,
    )
    return both[:_HALF], both[_HALF:]


def _masked(key: bytes, mask: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(key, mask, strict=False))
