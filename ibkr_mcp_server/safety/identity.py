"""What identifies a request: its key, its fingerprint, and the reference that carries the key to the broker."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from base64 import b32encode
from collections.abc import Mapping

from ibkr_mcp_server.domain.agents import agent_tag
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


def order_ref_for(request_key: str, agent: str) -> str:
    """The order reference for a key: who trades, and 100 bits of the key's hash; at most 40 characters (ID-07)."""
    return f"{ORDER_REF_PREFIX}{agent_tag(agent)}-{_hashed(request_key)}"


def carries(order_ref: str, request_key: str) -> bool:
    """Whether the order reference is that of `request_key`, whoever placed the order."""
    return order_ref.startswith(ORDER_REF_PREFIX) and order_ref.rpartition("-")[2] == _hashed(request_key)


def _hashed(request_key: str) -> str:
    digest = hashlib.sha256(request_key.encode()).digest()
    return b32encode(digest[:15]).decode()[:20].lower()  # five bytes make eight letters


def fingerprint(tool: str, arguments: Mapping[str, object]) -> str:
    """What the request asks for, apart from its key: equal fingerprints are the same request (ID-03)."""
    asked = {name: value for name, value in arguments.items() if name != "client_request_id" and value is not None}
    return hashlib.sha256(_AS_TEXT([tool, asked]).encode()).hexdigest()


_AS_TEXT = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str).encode
