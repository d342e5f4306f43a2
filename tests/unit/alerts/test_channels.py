"""The channels that are made are those that every status tells."""

from __future__ import annotations

import pytest

from ibkr_mcp_server.alerts.channels import channels_of
from ibkr_mcp_server.settings.alerts import SWITCHES, channels_set
from ibkr_mcp_server.settings.loading import load_settings

SET: dict[str, dict[str, str]] = {
    "slack": {"IBKR_ALERT_SLACK_WEBHOOK": "https://127.0.0.1/hook"},
    "email": {
        "IBKR_ALERT_EMAIL_ENABLED": "true",
        "IBKR_ALERT_EMAIL_SMTP_SERVER": "127.0.0.1",
        "IBKR_ALERT_EMAIL_FROM_ADDRESS": "server@example.org",
        "IBKR_ALERT_EMAIL_TO_ADDRESSES": "people@example.org",
    },
    "pagerduty": {"IBKR_ALERT_PAGERDUTY_KEY": "k" * 32},
}


@pytest.mark.parametrize("on", [(), ("slack",), ("email",), ("pagerduty",), tuple(SET)], ids="-".join)
def test_the_channels_that_are_made_are_those_that_are_told(on: tuple[str, ...]) -> None:
    settings = load_settings(environ={name: text for channel in on for name, text in SET[channel].items()})
    assert tuple(channel.name for channel in channels_of(settings, "store")) == channels_set(settings) == on


def test_every_channel_has_a_switch() -> None:
    assert SWITCHES.keys() == SET.keys()
