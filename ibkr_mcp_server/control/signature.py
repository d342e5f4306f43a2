"""How a request is signed, and nothing else: headers in, a verdict out.

Signed is `ID.TIMESTAMP.METHOD TARGET\\n` followed by the raw body, with HMAC-SHA256 (SIG-02). Two sets of headers carry
it: X-HMAC-Id, X-HMAC-Timestamp and X-HMAC-Signature in hexadecimal; or Standard Webhooks' webhook-id, webhook-timestamp
and webhook-signature, whose libraries produce it when `METHOD TARGET\\n` and the body are what they are given to sign.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from ibkr_mcp_server.control.keys import Key

REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{8,64}")
TIMESTAMP = re.compile(r"[0-9]{1,12}")
MOST_SIGNATURES = 5
"""Of Standard Webhooks' list; more would only make a bad request dearer."""

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, kw_only=True)
class Signed:
    """What the headers of a request claim."""

    id: str
    timestamp: int
    signatures: tuple[bytes, ...]
    key_id: str | None = None
    """Which key the caller says it used; None to try all."""


def read_headers(headers: Headers) -> Signed | None:
    """The claim of either set of headers; None when neither is whole, or something is said twice."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        name = name.lower()
        if name in _NAMES:
            if name in found:
                return None
            found[name] = value
    for id_name, time_name, signature_name, read in _SETS:
        if signature_name in found:
            return _claim(found, id_name, time_name, read(found[signature_name]))
    return None


def _claim(found: dict[bytes, bytes], id_name: bytes, time_name: bytes, signatures: tuple[bytes, ...]) -> Signed | None:
    id, timestamp = (found.get(name, b"").decode("latin-1") for name in (id_name, time_name))
    if not REQUEST_ID.fullmatch(id) or not TIMESTAMP.fullmatch(timestamp) or not signatures:
        return None
    key_id = found.get(b"x-hmac-key")
    return Signed(
        id=id,
        timestamp=int(timestamp),
        signatures=signatures,
        key_id=None if key_id is None else key_id.decode("latin-1"),
    )


def content(signed: Signed, method: str, target: str, body: bytes) -> bytes:
    """The bytes that are signed."""
    return f"{signed.id}.{signed.timestamp}.{method} {target}\n".encode("latin-1") + body


def signer(signed: Signed, message: bytes, keys: Sequence[Key]) -> Key | None:
    """The key that signed `message`; takes as long for a wrong signature as for a right one."""
    match = None
    for key in keys:
        expected = hmac.digest(key.secret, message, sha256)
        for signature in signed.signatures:
            if hmac.compare_digest(signature, expected) and signed.key_id in (None, key.id):
                match = key
    return match


def fingerprint(message: bytes) -> str:
    """Tells one signed request from another."""
    return sha256(message).hexdigest()


def _hexadecimal(value: bytes) -> tuple[bytes, ...]:
    text = value.removeprefix(b"sha256=")
    return (bytes.fromhex(text.decode("ascii")),) if re.fullmatch(rb"[0-9A-Fa-f]{64}", text) else ()


def _webhook(value: bytes) -> tuple[bytes, ...]:
    found = []
    for part in value.split()[:MOST_SIGNATURES]:
        version, _, text = part.partition(b",")
        try:
            if version == b"v1":
                found.append(base64.b64decode(text, validate=True))
        except binascii.Error:
            continue
    return tuple(found)


_SETS = (
    (b"x-hmac-id", b"x-hmac-timestamp", b"x-hmac-signature", _hexadecimal),
    (b"webhook-id", b"webhook-timestamp", b"webhook-signature", _webhook),
)
_NAMES = frozenset(name for names in _SETS for name in names[:3]) | {b"x-hmac-key"}
