"""The channels: Slack, e-mail and PagerDuty, each of which hands one alert over or says why it could not.

httpx2 and aiosmtplib are imported when the first alert leaves, on a thread of its own, so that a start never waits for
them. Nothing here retries or waits: `operations/alerting.py` does.
"""

from __future__ import annotations

import asyncio
import html
import socket
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime
from functools import cache
from ssl import SSLContext
from types import ModuleType
from typing import Any, Protocol

from ibkr_mcp_server.alerts.text import quoted
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.alerts import Alert, Priority
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.settings.alerts import MailSecurity
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.waits import first_of

SEND_SECONDS = 8.0
"""How long a channel may take for one alert."""
LONGEST_SECONDS = 30.0
"""For one message, by the machine's clock; whoever sends waits for less."""
TRY_LATER = frozenset({408, 425, 429})

_log = get_logger(__name__)

SEVERITIES = {
    Priority.INFO: "info",
    Priority.WARNING: "warning",
    Priority.HIGH: "error",
    Priority.CRITICAL: "critical",
}
"""Priority → severity of PagerDuty's Events API v2."""


class Unsent(Exception):
    """A channel did not take an alert."""

    def __init__(self, reason: str, *, for_good: bool = False) -> None:
        super().__init__(reason)
        self.for_good = for_good
        """It refuses this message and would refuse it again; otherwise a later attempt may pass."""


class Channel(Protocol):
    """One way to reach people."""

    @property
    def name(self) -> str: ...

    def takes(self, alert: Alert) -> bool:
        """Whether `alert` goes this way; what is critical always does (AL-02)."""
        ...

    async def send(self, alert: Alert) -> None:
        """Hand `alert` over; may be cancelled at any time, and then it may have been taken or not.

        Raises:
            Unsent: it was not taken.
        """
        ...


def channels_of(settings: Settings, installation: str) -> tuple[Channel, ...]:
    """The channels that are set; `installation` tells this store's incidents from those of others."""
    found: list[Channel] = []
    venue = str(settings.broker_mode)
    if settings.alert_slack_webhook is not None:
        url = settings.alert_slack_webhook.get_secret_value()
        found.append(Slack(url=url, least=settings.alert_slack_priority, venue=venue))
    if settings.alert_email_enabled:
        found.append(Mail(settings=settings, least=settings.alert_email_priority, venue=venue))
    if settings.alert_pagerduty_key is not None:
        found.append(
            PagerDuty(
                url=settings.alert_pagerduty_url,
                key=settings.alert_pagerduty_key.get_secret_value(),
                least=settings.alert_pagerduty_priority,
                venue=venue,
                installation=installation,
            )
        )
    return tuple(found)


def headline(alert: Alert, venue: str) -> str:
    return f"[{alert.priority.upper()}] [{venue}] {alert.title}"


def body(alert: Alert) -> str:
    record = f"Audit record {alert.audit_seq}. " if alert.audit_seq is not None else ""
    return f"{alert.text}\n{record}Raised at {alert.raised_at:%Y-%m-%d %H:%M:%S} UTC."


@dataclass(frozen=True, kw_only=True)
class Slack:
    """An incoming webhook: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks."""

    url: str
    least: Priority
    venue: str
    name: str = "slack"

    def takes(self, alert: Alert) -> bool:
        return alert.urgency.reaches(self.least)

    async def send(self, alert: Alert) -> None:
        text = f"{headline(alert, self.venue)}\n{body(alert)}"
        # Slack reads &, < and > as markup wherever they stand, and the rest only where mrkdwn is on.
        message = {
            "text": html.escape(text, quote=False),
            "mrkdwn": False,
            "unfurl_links": False,
            "unfurl_media": False,
        }
        await post_json(self.url, message)


@dataclass(frozen=True, kw_only=True)
class PagerDuty:
    """Events API v2: https://developer.pagerduty.com/docs/events-api-v2/trigger-events/."""

    url: str
    key: str
    least: Priority
    venue: str
    installation: str
    name: str = "pagerduty"

    def takes(self, alert: Alert) -> bool:
        return alert.urgency.reaches(self.least)

    async def send(self, alert: Alert) -> None:
        about = alert.incident or f"alert {alert.number} of {alert.raised_at:%Y%m%d%H%M%S}"
        event: dict[str, object] = {
            "routing_key": self.key,
            "event_action": "trigger" if alert.ends is None else "resolve",
            "dedup_key": f"ibkr-mcp-server/{self.installation}/{about}"[:255],
        }
        if alert.ends is None:
            event["payload"] = {
                "summary": headline(alert, self.venue)[:1024],
                "source": socket.gethostname(),
                "severity": SEVERITIES[alert.priority],
                "timestamp": alert.raised_at.isoformat(),
                "component": "ibkr-mcp-server",
                "class": alert.event,
                "custom_details": {"text": alert.text, "audit_record": alert.audit_seq, "venue": self.venue},
            }
        await post_json(self.url, event)


@dataclass(frozen=True, kw_only=True)
class Mail:
    """E-mail by SMTP, as plain text."""

    settings: Settings
    least: Priority
    venue: str
    name: str = "email"

    def takes(self, alert: Alert) -> bool:
        return alert.urgency.reaches(self.least) and bool(self._recipients(alert))

    async def send(self, alert: Alert) -> None:
        settings = self.settings
        message = EmailMessage()
        message["From"], message["To"] = settings.alert_email_from_address, ", ".join(self._recipients(alert))
        message["Subject"] = headline(alert, self.venue)
        message["Date"] = format_datetime(alert.raised_at)
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(body(alert) + "\n")
        password = settings.alert_email_password
        smtp = await asyncio.to_thread(_aiosmtplib)
        try:
            await smtp.send(
                message,
                hostname=settings.alert_email_smtp_server,
                port=settings.alert_email_smtp_port,
                username=settings.alert_email_username,
                password=None if password is None else password.get_secret_value(),
                use_tls=settings.alert_email_security is MailSecurity.TLS,
                start_tls=settings.alert_email_security is MailSecurity.STARTTLS,
                timeout=LONGEST_SECONDS,
            )
        except smtp.SMTPResponseException as error:
            # 4xx asks to come again; a login that is refused may be put right without a restart of this program.
            for_good = error.code >= 500 and not isinstance(error, smtp.SMTPAuthenticationError)
            raise Unsent(
                f"The mail server answered {error.code} {quoted(error.message)}.", for_good=for_good
            ) from error
        except smtp.SMTPRecipientsRefused as error:
            raise Unsent("The mail server takes mail for none of the recipients.", for_good=True) from error
        except (smtp.SMTPException, OSError) as error:
            raise Unsent(f"The mail server cannot be reached: {quoted(str(error) or type(error).__name__)}.") from error

    def _recipients(self, alert: Alert) -> Sequence[str]:
        """AL-07: the emergency contact hears of what is critical, and of its end."""
        contact = self.settings.emergency_contact_email
        is_critical = alert.urgency is Priority.CRITICAL
        also = (contact,) if contact is not None and is_critical else ()
        return tuple(dict.fromkeys((*self.settings.alert_email_to_addresses, *also)))


async def within(sending: Coroutine[Any, Any, None], clock: Clock) -> None:  # Any: as asyncio has it
    """Send within `SEND_SECONDS` of `clock`.

    Raises:
        Unsent: it was not taken, or not in time.
    """
    task = asyncio.ensure_future(sending)
    try:
        await first_of(task, clock.sleep(SEND_SECONDS))
        if not task.done():
            raise Unsent(f"It did not answer within {SEND_SECONDS:g} s.")
        task.result()
    except (Unsent, asyncio.CancelledError):
        raise
    except Exception as error:  # a library's own fault must not end the sender
        _log.exception("a channel of alerts failed")
        raise Unsent(f"It failed: {type(error).__name__}.") from error
    finally:
        task.cancel()


async def post_json(url: str, message: Mapping[str, Any]) -> None:  # Any: JSON
    """POST JSON; the address may be a secret, so that no error quotes it."""
    http, trusted = await asyncio.to_thread(_httpx2)
    try:
        async with http.AsyncClient(timeout=LONGEST_SECONDS, follow_redirects=False, verify=trusted) as client:
            answer = await client.post(url, json=message)
    except http.HTTPError as error:
        raise Unsent(f"It cannot be reached ({type(error).__name__}).") from None
    except OSError as error:
        raise Unsent(f"It cannot be reached ({error.strerror or type(error).__name__}).") from None
    if answer.is_success:
        return
    for_good = 300 <= answer.status_code < 500 and answer.status_code not in TRY_LATER
    raise Unsent(f"It answered {answer.status_code} {quoted(answer.text[:400])}.", for_good=for_good)


@cache
def _httpx2() -> tuple[ModuleType, SSLContext]:
    """The library, and whom it trusts: reading the certificates keeps the event loop for tens of milliseconds."""
    import httpx2

    return httpx2, httpx2.create_ssl_context()


def _aiosmtplib() -> ModuleType:
    import aiosmtplib

    return aiosmtplib
