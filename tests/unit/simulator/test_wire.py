"""Frames and fields: any segmentation, any spelling of "unset", no crash on garbage."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibkr_mcp_server.simulator.wire import (
    FieldReader,
    FrameDecoder,
    MalformedMessage,
    encode_frame,
    parse_boolean,
    parse_decimal,
    parse_integer,
    split_fields,
    to_text,
)

texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
messages = st.lists(st.lists(texts, min_size=1, max_size=6), max_size=6)


@given(messages, st.lists(st.integers(min_value=1, max_value=40), max_size=60))
def test_any_segmentation_yields_the_same_messages(sent: list[list[str]], cuts: list[int]) -> None:
    stream = b"".join(encode_frame(fields) for fields in sent)
    decoder, received = FrameDecoder(), []
    for cut in cuts:
        received += decoder.feed(stream[:cut])
        stream = stream[cut:]
    received += decoder.feed(stream)
    assert [payload.decode().split("\0")[:-1] for payload in received] == sent


@given(st.binary(max_size=200))
def test_garbage_never_raises_in_the_frame_decoder(data: bytes) -> None:
    decoder = FrameDecoder(largest=64)
    for payload in decoder.feed(data):
        split_fields(payload)


def test_oversize_length_breaks_the_stream_after_the_frames_before_it() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(encode_frame(["a"]) + b"\xff\xff\xff\xff") == [b"a\0"]
    assert decoder.broken
    assert decoder.feed(encode_frame(["b"])) == []


@pytest.mark.parametrize(
    "text", ["", "1.7976931348623157E308", "1.7976931348623157e+308", "Infinity", "Infinite", "-Infinity"]
)
def test_every_spelling_of_unset_is_none(text: str) -> None:
    assert parse_decimal(text) is None


def test_unset_integers_are_none() -> None:
    assert parse_integer("2147483647") is None
    assert parse_integer("") is None
    assert parse_integer("7") == 7


@pytest.mark.parametrize("text", ["NaN", "sNaN", "abc", "1e99", "1e-99", "1e999999999", "0x10", "--1"])
def test_numbers_that_are_none_are_malformed(text: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_decimal(text)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15, places=8))
def test_decimals_travel_unchanged_and_without_exponent(value: Decimal) -> None:
    text = to_text(value)
    assert "E" not in text.upper()
    assert parse_decimal(text) == value


def test_fields_print_as_tws_prints_them() -> None:
    printed = [to_text(field) for field in (True, False, None, Decimal("10.00"), Decimal("1E-5"), 3, "x")]
    assert printed == ["1", "0", "", "10", "0.00001", "3", "x"]


def test_text_beyond_ascii_goes_out_escaped() -> None:
    assert encode_frame(["Société"])[4:] == b"Soci\\xe9t\\xe9\0"


def test_reader_names_a_missing_field() -> None:
    reader = FieldReader(["1"])
    assert reader.integer() == 1
    with pytest.raises(MalformedMessage, match="ends after 1"):
        reader.text()


def test_wild_section_lengths_are_refused() -> None:
    with pytest.raises(MalformedMessage):
        FieldReader(["999999999"]).count()


def test_booleans_are_one_or_nought() -> None:
    assert parse_boolean("1")
    assert not parse_boolean("")
    with pytest.raises(MalformedMessage):
        parse_boolean("maybe")
