"""The words of a news article, out of whatever markup it came in; what a reader would not see is left out.

Text that a page hides from people and shows to machines is how instructions are smuggled to them (LLM-02).
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

from ibkr_mcp_server.tools.text import cleaned

MOST_READ = 2_000_000
"""Characters of an article that are looked at; the longest real ones have a tenth of it."""
LONGEST_LINE = 4_000

_UNSEEN = frozenset({"script", "style", "head", "title", "template", "noscript", "iframe", "object", "svg", "math"})
_BREAKS = frozenset({"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "table", "blockquote"})
_VOID = frozenset({"br", "hr", "img", "input", "link", "meta", "area", "base", "col", "embed", "source", "wbr"})
_HIDING = re.compile(
    r"display:none|visibility:hidden|font-size:0(?![.\d]*[1-9])|opacity:0(?![.\d]*[1-9])|color:transparent"
)
_MARKUP = re.compile(r"<[a-zA-Z!/][^>]*>|&[a-zA-Z#][a-zA-Z0-9]*;")
_METADATA = re.compile(r"^\s*\{[A-Z]:[^{}]{0,200}\}\s*!?")


def headline_text(text: str) -> str:
    """A headline without the `{A:800015:L:en}` that IBKR puts before it."""
    return _METADATA.sub("", text)


def readable(body: str) -> str:
    """The visible words of plain text or HTML, one paragraph per line, each line cleaned."""
    body = body[:MOST_READ]
    if _MARKUP.search(body):
        reader = _Visible()
        reader.feed(body)
        reader.close()
        body = "".join(reader.parts)
    lines = (cleaned(line, LONGEST_LINE) for line in body.splitlines())
    return "\n".join(line for line in lines if line)


class _Visible(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden_in: list[str] = []
        """The open elements from the outermost hidden one on; empty while what comes is seen."""
        self._preformatted = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BREAKS:
            self.parts.append("\n")
        if tag in _VOID:
            return
        self._preformatted += tag == "pre"
        if tag == "body":  # ends a head that was left open
            self._hidden_in.clear()
        elif tag in ("p", "li") and self._hidden_in[-1:] == [tag]:  # ends the one before it
            self._hidden_in.pop()
        if self._hidden_in or tag in _UNSEEN or _hides(dict(attrs)):
            self._hidden_in.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._hidden_in:  # closes what was left open inside it, too
            del self._hidden_in[len(self._hidden_in) - 1 - self._hidden_in[::-1].index(tag) :]
        self._preformatted -= tag == "pre"
        if tag in _BREAKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden_in:
            self.parts.append(data if self._preformatted > 0 else " ".join(data.splitlines()))


def _hides(attributes: dict[str, str | None]) -> bool:
    style = "".join((attributes.get("style") or "").lower().split())
    return "hidden" in attributes or attributes.get("aria-hidden") == "true" or _HIDING.search(style) is not None
