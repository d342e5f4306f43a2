"""Slack, PagerDuty, a mail server and a watcher of heartbeats as they look from here, each on a loopback port."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from ibkr_mcp_server.clock import Clock
from tests.harness import PATIENCE_SECONDS, World


@dataclass(kw_only=True)
class WebHook:
    """A server that takes POSTs. It can refuse them, and it can stop answering."""

    path: str
    port: int = 0
    status: int = 200
    hangs: bool = False
    posts: list[dict[str, Any]] = field(default_factory=list)
    """What it took, newest last."""
    times: list[float] = field(default_factory=list)
    asked: int = 0
    clock: Clock | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length")
            )
            body = await reader.readexactly(length)
            self.asked += 1
            if self.hangs:
                while self.hangs:  # noqa: ASYNC110 - a test lets it go
                    await asyncio.sleep(0.002)
                return
            if 200 <= self.status < 300:
                self.posts.append(json.loads(body))
                if self.clock is not None:
                    self.times.append(self.clock.monotonic())
            answer = b"ok"
            head_out = f"HTTP/1.1 {self.status} X\r\ncontent-length: {len(answer)}\r\nconnection: close\r\n\r\n"
            writer.write(head_out.encode() + answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@dataclass(kw_only=True)
class MailServer:
    """A mail server that takes everything, or nothing."""

    port: int = 0
    takes: bool = True
    mails: list[tuple[list[str], EmailMessage]] = field(default_factory=list)
    """Recipients and message."""
    logins: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recipients: list[str] = []

        def say(text: str) -> None:
            writer.write(f"{text}\r\n".encode())

        try:
            say("220 fake ESMTP" if self.takes else "451 come back later")
            while line := (await reader.readline()).decode().strip():
                word = line.split()[0].upper()
                if word == "EHLO":
                    say("250-fake")
                    say("250 AUTH PLAIN")
                elif word == "AUTH":
                    self.logins.append(line)
                    say("235 welcome")
                elif word == "RCPT":
                    recipients.append(line.partition("<")[2].partition(">")[0])
                    say("250 ok")
                elif word == "DATA":
                    say("354 go on")
                    raw = (await reader.readuntil(b"\r\n.\r\n"))[:-5]
                    message = message_from_bytes(raw, policy=policy.default)
                    assert isinstance(message, EmailMessage)
                    self.mails.append((recipients, message))
                    recipients = []
                    say("250 taken")
                elif word == "QUIT":
                    say("221 bye")
                    break
                else:
                    say("250 ok")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@dataclass(kw_only=True)
class Channels:
    """All of them."""

    slack: WebHook
    pagerduty: WebHook
    mail: MailServer

    @property
    def settings(self) -> dict[str, Any]:
        """As `load_settings` takes them."""
        return {
            "alert_slack_webhook": self.slack.url,
            "alert_pagerduty_key": "pagerduty-secret",
            "alert_pagerduty_url": self.pagerduty.url,
            "alert_email_enabled": True,
            "alert_email_smtp_server": "127.0.0.1",
            "alert_email_smtp_port": self.mail.port,
            "alert_email_security": "none",
            "alert_email_username": "robot",
            "alert_email_password": "mail-secret",
            "alert_email_from_address": "robot@example.com",
            "alert_email_to_addresses": "ops@example.com",
            "emergency_contact_email": "boss@example.com",
        }

    @property
    def environment(self) -> dict[str, str]:
        """The same as variables."""
        values = {name: "true" if value is True else str(value) for name, value in self.settings.items()}
        return {f"IBKR_{name.upper()}": value for name, value in values.items()}

    def break_down(self) -> None:
        self.slack.status = self.pagerduty.status = 503
        self.mail.takes = False

    def repair(self) -> None:
        self.slack.status = self.pagerduty.status = 200
        self.slack.hangs = self.pagerduty.hangs = False
        self.mail.takes = True


@asynccontextmanager
async def serving(*servers: WebHook | MailServer) -> AsyncIterator[None]:
    """Listen, each on a port of its own."""
    listening = []
    for one in servers:
        listener = await asyncio.start_server(one.serve, "127.0.0.1", 0)
        one.port = listener.sockets[0].getsockname()[1]
        listening.append(listener)
    try:
        yield
    finally:
        for listener in listening:
            listener.close()


@asynccontextmanager
async def channels(clock: Clock | None = None) -> AsyncIterator[Channels]:
    """All of them, listening."""
    found = Channels(
        slack=WebHook(path="/services/T0/B0/hook-secret", clock=clock),
        pagerduty=WebHook(path="/v2/enqueue", clock=clock),
        mail=MailServer(),
    )
    async with serving(found.slack, found.pagerduty, found.mail):
        yield found


async def until(world: World, true: Callable[[], object], *, hangs: str = "") -> None:
    """Let time pass, a second at a time, until it is so; the channel `hangs` is not waited for."""
    sender = world.app.alert_sender
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not true():
            await world.clock.advance(1)
            async with sender.working:
                pass
            while sender.sending - {hangs} and not true():  # noqa: ASYNC110 - the machine's time, not the clock's
                await asyncio.sleep(0.002)


def texts(posts: list[dict[str, Any]]) -> str:
    return "\n---\n".join(str(post["text"]) for post in posts)
