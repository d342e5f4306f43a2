"""What identifies a request: its key, its fingerprint, and the reference that carries the key to the broker."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping

from ibkr_mcp_server.domain.orders import ORDER_REF_PREFIX

REQUEST_KEY = re.compile(r"[A-Za-z0-9_.:-]{8,64}")
"""ID-01: 8 to 64 safe characters."""


def mint_key() -> str:
    """A key for a request whose caller gave none."""
    return f"auto-{uuid.uuid4().hex}"


BRACKET_PARTS = ("take-profit", "stop-loss")
"""Name the keys of a bracket's exits; its entry has the key of the request."""


def part_key(request_key: str, part: str) -> str:
    """The key of one part of a request that is carried out in parts; within the 64 characters of every key."""
    if len(request_key) + 1 + len(part) > 64:
        request_key = hashlib.sha256(request_key.encode()).hexdigest()[:32]
    return f"{request_key}.{part}"


def order_ref_for(request_key: str) -> str:
    """The order reference for a key: its hash, 38 characters (ID-07 allows 40)."""
    return ORDER_REF_PREFIX + hashlib.sha256(request_key.encode()).hexdigest()[:32]


def fingerprint(tool: str, arguments: Mapping[str, object]) -> str:
    """What the request asks for, apart from its key: equal fingerprints are the same request (ID-03)."""
    asked = {name: value for name, value in arguments.items() if name != "client_request_id" and value is not None}
    text = json.dumps([tool, asked], sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
