"""The pacer: never too many in a second, the urgent first, nothing left over."""

from __future__ import annotations

import asyncio

import pytest

from ibkr_mcp_server.broker.pacing import Lane, Pacer
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.errors import Unavailable


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Sender:
    """Sends through a pacer and remembers when."""

    def __init__(self, pacer: Pacer, clock: ManualClock) -> None:
        self.pacer = pacer
        self.clock = clock
        self.sent: list[tuple[float, str]] = []

    async def send(self, name: str, lane: Lane = Lane.READ) -> None:
        async with self.pacer.permit(lane):
            self.sent.append((self.clock.monotonic(), name))

    def start(self, name: str, lane: Lane = Lane.READ) -> asyncio.Task[None]:
        return asyncio.ensure_future(self.send(name, lane))


@pytest.fixture
def sender(clock: ManualClock) -> Sender:
    return Sender(Pacer(clock, 10), clock)


async def test_no_second_carries_more_than_the_limit(sender: Sender, clock: ManualClock) -> None:
    tasks = [sender.start(str(number)) for number in range(100)]
    while not all(task.done() for task in tasks):
        await clock.advance(0.05)
    times = [moment for moment, _ in sender.sent]
    assert max(sum(start <= moment < start + 1 for moment in times) for start in times) == 10
    assert times[-1] - times[0] < 11


async def test_urgent_message_overtakes_all_that_wait(sender: Sender, clock: ManualClock) -> None:
    tasks = [sender.start(f"read {number}") for number in range(30)]
    await _settle()
    tasks += [sender.start("open", Lane.OPEN), sender.start("reduce", Lane.REDUCE), sender.start("cancel", Lane.CANCEL)]
    await _settle()
    await clock.advance(1.2)
    assert [name for _, name in sender.sent[10:14]] == ["cancel", "reduce", "open", "read 10"]
    await clock.advance(5)
    await asyncio.gather(*tasks)


async def test_a_share_is_kept_for_what_cancels_protects_or_reduces(clock: ManualClock) -> None:
    """RL-12: however many reads and entries wait, urgent messages leave at once."""
    sender = Sender(Pacer(clock, 10, urgent_share=0.2), clock)
    tasks = [sender.start(f"{number}", Lane.OPEN if number % 2 else Lane.READ) for number in range(20)]
    await _settle()
    assert len(sender.sent) == 8
    tasks += [sender.start("reduce", Lane.REDUCE), sender.start("cancel", Lane.CANCEL)]
    tasks += [sender.start("another", Lane.CANCEL)]
    await _settle()
    assert [name for _, name in sender.sent[8:]] == ["reduce", "cancel"]
    await clock.advance(5)
    await asyncio.gather(*tasks)
    assert sender.sent[10][1] == "another"


async def test_message_that_was_not_sent_gives_its_room_back(sender: Sender) -> None:
    for _ in range(50):
        with pytest.raises(LookupError):
            async with sender.pacer.permit(Lane.OPEN):
                raise LookupError
    async with asyncio.timeout(10):
        await sender.send("still room")


async def test_room_counts_from_the_send_not_from_the_permit(sender: Sender, clock: ManualClock) -> None:
    """A gate may hold a message long; a burst behind it must still fit the second in which they all leave."""
    gate = asyncio.Event()

    async def held() -> None:
        async with sender.pacer.permit(Lane.OPEN):
            await gate.wait()
            sender.sent.append((clock.monotonic(), "held"))

    holding = [asyncio.ensure_future(held()) for _ in range(10)]
    await _settle()
    await clock.advance(5)
    waiting = sender.start("next")
    await _settle()
    assert not waiting.done()
    gate.set()
    await asyncio.gather(*holding)
    await _settle()
    assert not waiting.done()
    await clock.advance(1.2)
    assert waiting.done()


async def test_discarded_messages_are_never_sent(sender: Sender, clock: ManualClock) -> None:
    """EM-02."""
    tasks = [sender.start(str(number)) for number in range(13)]
    await _settle()
    assert sender.pacer.waiting == 3
    sender.pacer.discard(Unavailable("LINK_DOWN", "The link is lost."))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes[10:]] == [Unavailable] * 3
    await clock.advance(10)
    assert len(sender.sent) == 10


async def test_caller_that_goes_away_leaves_its_place(sender: Sender, clock: ManualClock) -> None:
    for number in range(10):
        await sender.send(str(number))
    gone, stays = sender.start("gone"), sender.start("stays")
    await _settle()
    gone.cancel()
    await _settle()
    await clock.advance(1.2)
    assert stays.done()
    assert "gone" not in [name for _, name in sender.sent]
    assert sender.pacer.waiting == 0


async def test_broker_that_complains_gets_a_quiet_second(sender: Sender, clock: ManualClock) -> None:
    sender.pacer.slow_down()
    waiting = sender.start("later")
    await _settle()
    assert not waiting.done()
    await clock.advance(1.2)
    assert waiting.done()


async def test_rate_below_one_still_lets_one_message_through(clock: ManualClock) -> None:
    async with asyncio.timeout(10):
        await Sender(Pacer(clock, 0.4), clock).send("one")
