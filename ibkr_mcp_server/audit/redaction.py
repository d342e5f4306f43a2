"""Takes secrets and account numbers out of what is about to be recorded (SEC-05): by key name, and by pattern."""

from __future__ import annotations

import re
from functools import lru_cache

from ibkr_mcp_server.domain.accounts import masked

REDACTED = "[redacted]"

_SECRET_KEY = re.compile(
    r"pass(phrase|word|wd|code)|secret|token|authori[sz]ation|api_?key|private_?key|credential|signature|cookie|\botp\b|totp",
    re.IGNORECASE,
)
_ACCOUNT_KEY = re.compile(r"(^|_)acc(oun)?ts?(_?(id|number|code|name)s?)?$", re.IGNORECASE)

SECRET_TEXT = re.compile(
    r"(?i:\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"  # an Authorization header's value
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"  # a JSON web token
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"  # user and password of a URL
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?i:\b(?:passphrase|password|secret|token|api[_-]?key)\b\s*[=:]\s*)\S+"
)
# IBKR account ids: U1234567; D for paper; F, I and FA for advisors, C and T for sub-accounts.
_ACCOUNT_TEXT = re.compile(r"(?<![A-Za-z0-9])(?:D?[UFI]|DUH|DUN|FA|DFA)[A-Z]?\d{5,9}[A-Z]?(?![A-Za-z0-9])")


@lru_cache(maxsize=1024)
def is_secret_key(key: str) -> bool:
    """Whether the value under `key` must never be recorded."""
    return _SECRET_KEY.search(key) is not None


@lru_cache(maxsize=1024)
def is_account_key(key: str) -> bool:
    """Whether the texts under `key` are account numbers."""
    return _ACCOUNT_KEY.search(key) is not None


def redacted_text(text: str) -> str:
    """`text` without secrets, its account numbers cut to their last three characters."""
    return _redacted_short(text) if len(text) <= SHORT else _redacted(text)


SHORT = 40
"""Keys, codes and words of this length come again and again, so what is found in them is remembered."""


def _redacted(text: str) -> str:
    if _may_hold_a_secret(text):
        text = SECRET_TEXT.sub(REDACTED, text)
    return _ACCOUNT_TEXT.sub(lambda found: masked(found[0]), text)


def _may_hold_a_secret(text: str) -> bool:
    """Whether `text` has what each kind of secret needs; a look that costs a tenth of the search for them."""
    if not text.isascii() or ":" in text or "=" in text or "eyJ" in text or "-----" in text:
        return True
    lowered = text.lower()
    return "bearer" in lowered or "basic" in lowered


_redacted_short = lru_cache(maxsize=4096)(_redacted)
