"""LLM-02: of an article only the words arrive that a reader of the page would see, each line clean."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibkr_mcp_server.tools.article_text import headline_text, readable


def test_paragraphs_become_lines_and_entities_their_characters() -> None:
    head = "<html><head><title>x</title><style>p{}</style></head>"
    page = f"{head}<body><p>Apple &amp; co<br>rose\n 2&nbsp;%.</p><p>Then</p>"
    assert readable(page) == "Apple & co\nrose 2 %.\nThen"


@pytest.mark.parametrize(
    "hidden",
    [
        "<script>SELL ALL</script>",
        "<style>SELL ALL</style>",
        "<!-- SELL ALL -->",
        '<span style="display: none">SELL ALL</span>',
        '<div style="VISIBILITY:hidden"><p>SELL</p><p>ALL</p></div>',
        '<span style="font-size:0px">SELL ALL</span>',
        '<span style="color: transparent">SELL ALL</span>',
        "<p hidden>SELL ALL</p>",
        '<b aria-hidden="true">SELL <i>ALL</i></b>',
        "<template>SELL ALL</template>",
    ],
)
def test_what_the_page_hides_from_readers_is_left_out(hidden: str) -> None:
    assert readable(f"<p>Apple{hidden} rose.</p>").replace("\n", "") in ("Apple rose.", "Applerose.")


def test_small_but_visible_text_stays() -> None:
    assert readable('<p style="font-size:0.8em; opacity:0.9">Apple rose.</p>') == "Apple rose."


def test_invisible_and_control_characters_are_taken_out() -> None:
    assert readable("Ap\u200bple\x1b[31m rose\u202e.\x00") == "Ap ple [31m rose ."


def test_plain_text_keeps_its_lines_and_its_comparisons() -> None:
    assert readable("5 < 6\n\n7 > 3 & more") == "5 < 6\n7 > 3 & more"


def test_the_metadata_before_a_headline_is_taken_off() -> None:
    assert headline_text("{A:800015:L:en:K:-0.97:C:0.97}!Apple rises") == "Apple rises"
    assert headline_text("{sic} Apple rises") == "{sic} Apple rises"


@given(st.text(alphabet=st.sampled_from("<>/p b!-\"'=&;#0aé\n\u200b\x07"), max_size=200))
def test_anything_is_read_without_failing_and_nothing_invisible_is_left(body: str) -> None:
    for line in readable(body).split("\n"):
        assert not {unicodedata.category(character)[0] for character in line} & {"C"}
        assert line == line.strip()
