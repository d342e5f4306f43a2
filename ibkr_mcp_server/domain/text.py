"""Text that comes from elsewhere, made safe to show: bounded, on one line, without invisible characters."""

from __future__ import annotations

import unicodedata


def cleaned(text: str, most: int = 300) -> str:
    """`text` without control, format and unassigned characters, blanks joined, at most `most` characters (LLM-02)."""
    head = text[: most * 4]
    visible = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in head)
    joined = " ".join(visible.split())
    return joined if len(joined) <= most and len(head) == len(text) else joined[: most - 1] + "…"
