"""The conversation: whatever bytes arrive, in whatever pieces, it yields events or ends, and nothing else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibkr_mcp_server.simulator.conversation import Conversation, ConversationEnded, Handshake
from ibkr_mcp_server.simulator.requests import (
    DECODERS,
    ReqCurrentTime,
    ReqPositions,
    Request,
    StartApi,
    UnknownRequest,
    UnreadableRequest,
    decode_request,
)
from ibkr_mcp_server.simulator.wire import encode_frame

OFFER = b"v157..178"
GREETING = b"API\0" + struct.pack(">I", len(OFFER)) + OFFER


def converse(*pieces: bytes) -> list[Handshake | Request]:
    conversation = Conversation()
    return [event for piece in pieces for event in conversation.receive(piece, connection_time="now")]


@given(st.lists(st.integers(min_value=1, max_value=12), max_size=80))
def test_any_segmentation_yields_the_same_events(cuts: list[int]) -> None:
    stream = GREETING + encode_frame([71, 2, 9, ""]) + encode_frame([49, 1]) + encode_frame([61, 1])
    pieces = []
    for cut in cuts:
        pieces.append(stream[:cut])
        stream = stream[cut:]
    handshake, *requests = converse(*pieces, stream)
    assert handshake == Handshake(version=178, reply=encode_frame([178, "now"]))
    assert requests == [StartApi(client_id=9), ReqCurrentTime(), ReqPositions()]


@given(st.binary(max_size=300))
def test_garbage_after_the_greeting_ends_the_conversation_or_yields_events(data: bytes) -> None:
    conversation = Conversation()
    try:
        for event in conversation.receive(GREETING + encode_frame([71, 2, 1, ""]) + data, connection_time="now"):
            assert isinstance(event, Handshake | Request)
    except ConversationEnded:
        pass


@given(st.binary(min_size=4, max_size=40).filter(lambda data: not data.startswith(b"API\0")))
def test_any_other_greeting_ends_the_conversation(data: bytes) -> None:
    with pytest.raises(ConversationEnded):
        converse(data)


def test_requests_before_the_start_of_the_api_are_dropped() -> None:
    events = converse(GREETING + encode_frame([49, 1]) + encode_frame([71, 2, 1, ""]))
    assert events[1:] == [StartApi(client_id=1)]


def test_requests_before_an_oversize_frame_are_still_delivered() -> None:
    conversation = Conversation()
    stream = GREETING + encode_frame([71, 2, 1, ""]) + b"\xff\xff\xff\xff"
    events = conversation.receive(stream, connection_time="now")
    assert isinstance(next(events), Handshake)
    assert next(events) == StartApi(client_id=1)
    with pytest.raises(ConversationEnded):
        next(events)


@given(
    st.sampled_from(sorted(DECODERS)),
    st.lists(st.one_of(st.just(""), st.just("1"), st.text(max_size=8), st.integers().map(str)), max_size=130),
    st.sampled_from([176, 177, 178]),
)
def test_decoding_never_raises(message_id: int, fields: list[str], version: int) -> None:
    assert isinstance(decode_request([str(message_id), *fields], version), Request)


def test_unknown_and_unreadable_requests_say_what_they_were() -> None:
    assert decode_request(["4242"], 178) == UnknownRequest(message_id=4242)
    unreadable = decode_request(["3", "17", "x"], 178)
    assert isinstance(unreadable, UnreadableRequest)
    assert (unreadable.message_id, unreadable.about) == (3, 17)
