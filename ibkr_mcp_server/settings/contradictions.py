"""What must fit together between settings that are each allowed (CFG-10, CFG-17, CFG-18)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from ibkr_mcp_server.settings.alerts import MailSecurity
from ibkr_mcp_server.settings.base import variable_of
from ibkr_mcp_server.settings.broker import LIVE_PORTS, PAPER_PORTS, BrokerMode
from ibkr_mcp_server.settings.gates import DISABLED_CONTROLS_ACKNOWLEDGEMENT, LIVE_TRADING_ACKNOWLEDGEMENT
from ibkr_mcp_server.settings.risk import WARN_PAUSE_KILL
from ibkr_mcp_server.settings.rules import is_loopback
from ibkr_mcp_server.state_dir import StateDirectory

if TYPE_CHECKING:
    from ibkr_mcp_server.settings.model import Settings

Contradiction = Callable[["Settings"], str | None]
"""Says what is wrong between settings that are each allowed, or None."""


def contradictions(settings: Settings, *, wrong: frozenset[str] | set[str]) -> Iterator[str]:
    """All contradictions, but for those that involve a setting whose own value is `wrong` already."""
    for names, contradiction in _CONTRADICTIONS:
        if wrong.isdisjoint(names) and (problem := contradiction(settings)):
            yield problem


def _in_order(lower: str, upper: str) -> tuple[tuple[str, ...], Contradiction]:
    def contradiction(settings: Settings) -> str | None:
        low, high = getattr(settings, lower), getattr(settings, upper)
        if low <= high:
            return None
        return (
            f"{variable_of(lower)} is {low} and {variable_of(upper)} is {high}; the first must not be above the other."
        )

    return (lower, upper), contradiction


def _below(lower: str, upper: str) -> tuple[tuple[str, ...], Contradiction]:
    def contradiction(settings: Settings) -> str | None:
        low, high = getattr(settings, lower), getattr(settings, upper)
        if low < high:
            return None
        return (
            f"{variable_of(lower)} is {low:f} and {variable_of(upper)} is {high:f}; the first must be below the other."
        )

    return (lower, upper), contradiction


def _only_off_with_the_simulator(name: str) -> tuple[tuple[str, ...], Contradiction]:
    """CFG-17, CFG-18, T-33."""

    def contradiction(settings: Settings) -> str | None:
        if getattr(settings, name) or settings.broker_mode is BrokerMode.SIMULATOR:
            return None
        return f"{variable_of(name)} can be off only with IBKR_BROKER_MODE=simulator, and it is {settings.broker_mode}."

    return (name, "broker_mode"), contradiction


def _never_off_in_live_mode(name: str) -> tuple[tuple[str, ...], Contradiction]:
    """CFG-18."""

    def contradiction(settings: Settings) -> str | None:
        if getattr(settings, name) or settings.broker_mode is BrokerMode.SIMULATOR:
            return None
        if settings.broker_mode is BrokerMode.LIVE:
            return f"{variable_of(name)} cannot be off with IBKR_BROKER_MODE=live."
        if settings.disabled_controls_ack == DISABLED_CONTROLS_ACKNOWLEDGEMENT:
            return None
        return (
            f"{variable_of(name)} can be off in paper mode only with IBKR_DISABLED_CONTROLS_ACK="
            f'"{DISABLED_CONTROLS_ACKNOWLEDGEMENT}".'
        )

    return (name, "broker_mode", "disabled_controls_ack"), contradiction


def _dead_before_asked(settings: Settings) -> str | None:
    if settings.heartbeat_seconds < settings.link_dead_after_seconds:
        return None
    return (
        f"IBKR_HEARTBEAT_SECONDS is {settings.heartbeat_seconds:g} and IBKR_LINK_DEAD_AFTER_SECONDS is "
        f"{settings.link_dead_after_seconds:g}; the first must be below the other."
    )


def _port_of_another_mode(settings: Settings) -> str | None:
    """ACC-08; that a port looks right proves nothing (FD-19), that it looks wrong stops the start."""
    ports, kind = (PAPER_PORTS, "paper") if settings.broker_mode is BrokerMode.LIVE else (LIVE_PORTS, "live")
    if settings.port not in ports:
        return None
    return (
        f"IBKR_PORT is {settings.port}, where TWS or IB Gateway serves {kind} accounts, and IBKR_BROKER_MODE is "
        f"{settings.broker_mode}; correct one of them."
    )


def _simulator_elsewhere(settings: Settings) -> str | None:
    if settings.broker_mode is not BrokerMode.SIMULATOR or is_loopback(settings.host):
        return None
    return (
        f"IBKR_HOST is {settings.host!r}, and IBKR_BROKER_MODE is simulator, which runs on this machine; set "
        "IBKR_BROKER_MODE to paper or live to use a gateway elsewhere, or remove IBKR_HOST."
    )


def _leverage_without_acknowledgement(settings: Settings) -> str | None:
    """C-08."""
    acknowledged = settings.live_trading_ack == LIVE_TRADING_ACKNOWLEDGEMENT
    if settings.max_leverage <= 2 or settings.broker_mode is not BrokerMode.LIVE or acknowledged:
        return None
    return f"IBKR_MAX_LEVERAGE is {settings.max_leverage:f}; above 2 in live mode it needs IBKR_LIVE_TRADING_ACK."


def _prefix_of_live_accounts(settings: Settings) -> str | None:
    """IBKR's paper accounts begin with D (DU, DF, DI); any other prefix would let a live account pass as one."""
    others = [prefix for prefix in settings.allowed_account_prefixes if not prefix.startswith("D")]
    if settings.broker_mode is not BrokerMode.PAPER or not others:
        return None
    return (
        f"IBKR_ALLOWED_ACCOUNT_PREFIXES contains {', '.join(others)}, and IBKR_BROKER_MODE is paper; paper accounts "
        "begin with D."
    )


def _log_outside_the_state_directory(name: str) -> tuple[tuple[str, ...], Contradiction]:
    """AUD-08: outside, a log could lie where others read it or where a reboot erases it."""

    def contradiction(settings: Settings) -> str | None:
        target: Path | None = getattr(settings, name)
        if target is None:
            return None
        directory = StateDirectory(path=Path(os.path.realpath(settings.state_directory)))
        resolved = Path(os.path.realpath(target))
        if directory.path not in resolved.parents:
            return f"{variable_of(name)} is '{target}'; it must lie under the state directory {directory.path}."
        if any(resolved == own or own in resolved.parents for own in directory.own_files):
            return f"{variable_of(name)} is '{target}', which the server keeps for itself; choose another name."
        return None

    return (name, "state_dir"), contradiction


def _control_api_in_the_open(settings: Settings) -> str | None:
    """SIG-07: whoever listens on the way could otherwise hold requests back."""
    if is_loopback(settings.control_host) or settings.control_tls_certificate is not None:
        return None
    return (
        f"IBKR_CONTROL_HOST is {settings.control_host!r}, which other machines can reach; set "
        "IBKR_CONTROL_TLS_CERTIFICATE and IBKR_CONTROL_TLS_KEY, or leave it on loopback behind a proxy of this machine."
    )


def _half_a_certificate(settings: Settings) -> str | None:
    if (settings.control_tls_certificate is None) == (settings.control_tls_key is None):
        return None
    return "IBKR_CONTROL_TLS_CERTIFICATE and IBKR_CONTROL_TLS_KEY need each other; one of them is not set."


def _half_a_mailbox(settings: Settings) -> str | None:
    if not settings.alert_email_enabled:
        return None
    recipients = settings.alert_email_to_addresses or settings.emergency_contact_email
    needed = {
        "IBKR_ALERT_EMAIL_SMTP_SERVER": settings.alert_email_smtp_server,
        "IBKR_ALERT_EMAIL_FROM_ADDRESS": settings.alert_email_from_address,
        "IBKR_ALERT_EMAIL_TO_ADDRESSES (or IBKR_EMERGENCY_CONTACT_EMAIL)": recipients,
    }
    missing = [name for name, value in needed.items() if not value]
    return f"IBKR_ALERT_EMAIL_ENABLED is true, and not set is {', '.join(missing)}." if missing else None


def _mail_in_the_open(settings: Settings) -> str | None:
    """Alerts tell of positions and stops, and the login travels with them."""
    server = settings.alert_email_smtp_server
    if settings.alert_email_security is not MailSecurity.NONE or server is None or is_loopback(server):
        return None
    return (
        f"IBKR_ALERT_EMAIL_SECURITY is none and the mail server {server!r} is not on this machine; use starttls or tls."
    )


def _one_file_for_two_logs(settings: Settings) -> str | None:
    if settings.log_file is None or settings.log_file != settings.audit_log_file:
        return None
    return f"IBKR_LOG_FILE and IBKR_AUDIT_LOG_FILE are both '{settings.log_file}'; each needs a file of its own."


_CONTRADICTIONS: tuple[tuple[tuple[str, ...], Contradiction], ...] = (
    _in_order("daily_orders_warning", "max_daily_orders"),
    _in_order("messages_per_fill_warning", "max_messages_per_fill"),
    _in_order("max_orders_per_minute", "max_daily_orders"),
    _in_order("max_position_size_pct", "max_position_pct_per_strategy"),
    _in_order("max_position_pct_per_strategy", "max_total_exposure_pct"),
    _in_order("max_position_value_usd", "max_total_exposure_usd"),
    (("max_leverage", "broker_mode", "live_trading_ack"), _leverage_without_acknowledgement),
    (("heartbeat_seconds", "link_dead_after_seconds"), _dead_before_asked),
    _only_off_with_the_simulator("safety_mode"),
    _never_off_in_live_mode("enable_kill_switch"),
    _never_off_in_live_mode("enable_audit_logging"),
    _never_off_in_live_mode("require_paper_account_verification"),
    (("broker_mode", "port"), _port_of_another_mode),
    (("broker_mode", "host"), _simulator_elsewhere),
    (("broker_mode", "allowed_account_prefixes"), _prefix_of_live_accounts),
    _log_outside_the_state_directory("log_file"),
    _log_outside_the_state_directory("audit_log_file"),
    (("log_file", "audit_log_file"), _one_file_for_two_logs),
    (
        ("alert_email_enabled", "alert_email_smtp_server", "alert_email_from_address", "alert_email_to_addresses"),
        _half_a_mailbox,
    ),
    (("alert_email_security", "alert_email_smtp_server"), _mail_in_the_open),
    (("control_host", "control_tls_certificate"), _control_api_in_the_open),
    (("control_tls_certificate", "control_tls_key"), _half_a_certificate),
    *(_below(lower, upper) for names in WARN_PAUSE_KILL for lower, upper in pairwise(names)),
)
