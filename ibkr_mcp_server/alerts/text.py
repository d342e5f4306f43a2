"""The words of an alert: fixed templates, in which what comes from outside stands quoted and inert (AL-08).

A field `{mode}` is a word or a number of this program's own. A field `{reason!q}` is text that somebody else wrote:
bounded, on one line, between quotation marks, and without what a chat, a mail program or a terminal would act on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any

from ibkr_mcp_server.audit.redaction import redacted_text
from ibkr_mcp_server.domain.text import cleaned

MOST_QUOTED = 200
MOST_OF_A_WORD = 80
MOST_ITEMS = 5
UNKNOWN = "unknown"

_INERT = str.maketrans({"<": "‹", ">": "›", "`": "'", "“": "'", "”": "'", "@": "＠", "*": "∗", "_": "‗", "|": "¦"})
_INERT_WORD = str.maketrans({"<": "‹", ">": "›", "`": "'", "@": "＠", "*": "∗", "|": "¦"})


def quoted(text: str, most: int = MOST_QUOTED) -> str:
    """`text` of somebody else: no mention, link, markup, secret or line of its own survives."""
    inert = cleaned(redacted_text(text), most).translate(_INERT).replace("://", ": //").replace("www.", "www .")
    return f"“{inert}”"


def filled(template: str, facts: Mapping[str, object]) -> str:
    """A template with its fields; one that is missing is told as unknown."""
    return _WRITER.vformat(template, (), facts)


def external_fields(template: str) -> set[str]:
    """The fields that are quoted."""
    return {name for _, name, _, how in Formatter().parse(template) if name and how == "q"}


class _Writer(Formatter):
    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:  # Any: as Formatter
        """No attributes and no indices: a field is a name."""
        return kwargs.get(field_name), field_name

    def convert_field(self, value: Any, conversion: str | None) -> str:
        if value in (None, "", []):
            return UNKNOWN
        if conversion == "q":
            return _listed(value, quoted)
        return _listed(value, lambda text: cleaned(text, MOST_OF_A_WORD).translate(_INERT_WORD))


def _listed(value: Any, written: Any) -> str:  # Any: JSON; a function of text
    if not isinstance(value, list):
        return str(written(_plain(value)))
    more = f" and {len(value) - MOST_ITEMS} more" if len(value) > MOST_ITEMS else ""
    return ", ".join(str(written(_plain(item))) for item in value[:MOST_ITEMS]) + more


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        named = [f"{value[name]}" for name in ("quantity", "label", "kind", "text", "reason") if value.get(name)]
        return ": ".join(named) or UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    moment = _MOMENT.fullmatch(str(value))
    return str(value) if moment is None else f"{moment[1]} {moment[2]} UTC"


_MOMENT = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})\.\d{6}Z")
"""As the audit log writes them."""
_WRITER = _Writer()
