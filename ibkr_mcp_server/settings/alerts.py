"""The settings of the alerts; part of `Settings`. All channels are off until they are set."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

from pydantic import Field, SecretStr

from ibkr_mcp_server.domain.alerts import Priority
from ibkr_mcp_server.settings import rules
from ibkr_mcp_server.settings.base import SettingGroup

PAGERDUTY_EVENTS = "https://events.pagerduty.com/v2/enqueue"
"""https://developer.pagerduty.com/docs/events-api-v2/trigger-events/; accounts in Europe have one of their own."""


class MailSecurity(StrEnum):
    """How a connection to a mail server is encrypted."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


class AlertSettings(SettingGroup):
    """Whom the server tells, by what, and how often."""

    alert_slack_webhook: Annotated[SecretStr | None, rules.secret_web_address(unset="nothing is sent to Slack")] = (
        Field(default=None, description="Incoming webhook of Slack, or of a chat that takes the same. Never shown.")
    )
    alert_slack_priority: Annotated[Priority, rules.one_of(Priority)] = Field(
        default=Priority.INFO, description="Least priority that goes to Slack."
    )
    alert_email_enabled: Annotated[bool, rules.switch()] = Field(
        default=False, description="Sends alerts by e-mail; needs a server, a sender and somebody to send to."
    )
    alert_email_smtp_server: Annotated[str | None, rules.host(unset="none")] = Field(
        default=None, description="Mail server that takes the alerts."
    )
    alert_email_smtp_port: Annotated[int, rules.port()] = Field(
        default=587, description="Its port: 587 for STARTTLS, 465 for TLS."
    )
    alert_email_security: Annotated[MailSecurity, rules.one_of(MailSecurity)] = Field(
        default=MailSecurity.STARTTLS,
        description="How the connection to the mail server is encrypted; `none` only to this machine.",
    )
    alert_email_username: Annotated[str | None, rules.line(unset="no login")] = Field(
        default=None, description="Name to log in with."
    )
    alert_email_password: Annotated[SecretStr | None, rules.secret_line(unset="no login")] = Field(
        default=None, description="Password to log in with; EMAIL_PASSWORD is read, too. Never shown."
    )
    alert_email_from_address: Annotated[str | None, rules.mail_address(unset="none")] = Field(
        default=None, description="Sender of the alerts."
    )
    alert_email_to_addresses: Annotated[tuple[str, ...], rules.mail_addresses()] = Field(
        default=(), description="Who gets the alerts by e-mail."
    )
    alert_email_priority: Annotated[Priority, rules.one_of(Priority)] = Field(
        default=Priority.WARNING, description="Least priority that is sent by e-mail."
    )
    emergency_contact_email: Annotated[str | None, rules.mail_address(unset="nobody")] = Field(
        default=None, description="Gets critical alerts by e-mail besides the others."
    )
    alert_pagerduty_key: Annotated[SecretStr | None, rules.secret_line(unset="nothing is sent to PagerDuty")] = Field(
        default=None, description="Integration key of a PagerDuty service (Events API v2); PAGERDUTY_KEY is read, too. "
        "Never shown.",
    )  # fmt: skip
    alert_pagerduty_url: Annotated[str, rules.web_address()] = Field(
        default=PAGERDUTY_EVENTS,
        description="Where PagerDuty takes events; European accounts have https://events.eu.pagerduty.com/v2/enqueue.",
    )
    alert_pagerduty_priority: Annotated[Priority, rules.one_of(Priority)] = Field(
        default=Priority.CRITICAL, description="Least priority that goes to PagerDuty."
    )
    alert_cooldown_seconds: Annotated[float, rules.pause(86_400)] = Field(
        default=300.0,
        description="How long the same alert about the same thing is counted instead of sent; changes of the safety "
        "state and escalations never are.",
    )
    unprotected_warning_minutes: Annotated[int, rules.whole_number(0, 240)] = Field(
        default=30,
        description="Minutes before its exchange closes at which a position without a stop is told; 0 tells none.",
    )
    alert_heartbeat_url: Annotated[SecretStr | None, rules.secret_web_address(unset="no heartbeat")] = Field(
        default=None,
        description="Address of a watcher (a dead man's switch) that is called regularly while the server lives, and "
        "raises an alarm when it is not. Never shown.",
    )
    alert_heartbeat_seconds: Annotated[float, rules.seconds(86_400)] = Field(
        default=300.0, description="How often that watcher is called."
    )
    alert_unreachable_seconds: Annotated[float, rules.seconds(3_600)] = Field(
        default=60.0,
        description="How long a critical alert may reach nobody, with channels set, before nothing more is opened.",
    )


SWITCHES = {"slack": "alert_slack_webhook", "email": "alert_email_enabled", "pagerduty": "alert_pagerduty_key"}
"""Channel → the setting that switches it on."""


def channels_set_by(is_set: Callable[[str], bool]) -> tuple[str, ...]:
    """The channels that are on, by whether a setting is."""
    return tuple(channel for channel, name in SWITCHES.items() if is_set(name))


def channels_set(settings: AlertSettings) -> tuple[str, ...]:
    """The channels that are on."""
    return channels_set_by(lambda name: bool(getattr(settings, name)))
