"""The metrics for Prometheus (MON-05): read at each scrape from the status and the tally; nothing counts for them.

A figure that is not known is left out, never zero. The dashboard in docs/grafana-dashboard.json shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from ibkr_mcp_server import __version__
from ibkr_mcp_server.control.door import Door
from ibkr_mcp_server.control.parts import Parts
from ibkr_mcp_server.control.status import Json, full_status
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.safety.state import SafetyState
from ibkr_mcp_server.safety.tally import BOUNDS_SECONDS, Durations

Metric = GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily


async def metrics_text(parts: Parts, door: Door) -> bytes:
    """The page that Prometheus reads."""
    status = await full_status(parts)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Fixed(list(_metrics(status, parts, door))))
    return generate_latest(registry)


class _Fixed(Collector):
    """What was gathered before; a collector may not wait."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _metrics(status: Json, parts: Parts, door: Door) -> Iterator[Metric]:
    venue = str(parts.settings.broker_mode)
    yield _gauge("ibkr_info", "Version and broker mode.", 1, version=__version__, venue=venue)
    yield _gauge("ibkr_kill_switch_active", "1 while the kill switch is on.", status["kill_switch_active"])
    yield _gauge("ibkr_trading_enabled", "1 when IBKR_ENABLE_TRADING is set.", status["trading_enabled"])
    yield _gauge("ibkr_unknown_orders", "Orders with an outcome that is not known.", len(status["unresolved"]))
    if status.get("audit_head"):
        yield _gauge("ibkr_audit_records", "Number of the newest audit record.", status["audit_head"][0])
    yield from _limits(status)
    yield from _alerts(status["alerts"])
    yield _counted("ibkr_control_refused", "Requests to the control API that were turned away.", "reason", door.refused)
    if parts.desk is not None:
        yield from _of_the_server(status, parts.desk)


def _alerts(health: Json) -> Iterator[Metric]:
    waiting, given_up = (sum(one[name] for one in health["channels"]) for name in ("waiting", "given_up"))
    yield _gauge("ibkr_alert_channels", "Channels of alerts that are set.", len(health["configured"]))
    yield _gauge("ibkr_alerts_waiting", "Alerts that wait for a channel.", waiting)
    yield _gauge("ibkr_alerts_given_up", "Alerts that a channel refused for good.", given_up)
    text = "1 while a critical alert reaches nobody."
    yield _gauge("ibkr_alerts_unreachable", text, health["unreachable_since"] is not None)


def _limits(status: Json) -> Iterator[Metric]:
    families = {
        name: GaugeMetricFamily(f"ibkr_limit_{name}", text, labels=["limit"])
        for name, text in (
            ("used", "What is used of each limit."),
            ("of", "Each limit."),
            ("left", "What is left of each limit."),
        )
    }
    for limit in status["limits"]:
        for name, key in (("used", "used"), ("of", "limit"), ("left", "left")):
            value = _number(limit[key])
            if value is not None:
                families[name].add_metric([limit["name"]], value)
    yield from families.values()


def _of_the_server(status: Json, desk: Desk) -> Iterator[Metric]:
    state = GaugeMetricFamily("ibkr_safety_state", "1 for the effective state.", labels=["state"])
    for name in SafetyState:
        state.add_metric([name], float(status["effective_state"] == name))
    yield state
    link, now = desk.broker.link, desk.clock.now()
    yield _gauge("ibkr_link_up", "1 while the link to the broker is up.", link.is_up)
    yield _gauge("ibkr_accounts_verified", "1 when every account may be traded.", status["account_verified"])
    if link.heard_at is not None:
        age = (now - link.heard_at).total_seconds()
        yield _gauge("ibkr_data_age_seconds", "Since anything came from the broker.", age)
    if link.clock_offset is not None:
        offset = link.clock_offset.seconds
        yield _gauge("ibkr_clock_offset_seconds", "The broker's clock minus ours.", offset)
    pacing = CounterMetricFamily("ibkr_pacing_complaints", "How often the broker said that messages came too fast.")
    pacing.add_metric([], link.pacing_complaints)
    yield pacing
    tally = desk.safety.tally
    decisions = CounterMetricFamily("ibkr_decisions", "Decisions by class and code.", labels=["class", "code"])
    for (operation_class, code), count in tally.decisions.items():
        decisions.add_metric([operation_class, code], count)
    yield decisions
    seconds = HistogramMetricFamily("ibkr_decision_seconds", "How long decisions took.", labels=["class"])
    for operation_class, durations in tally.durations.items():
        seconds.add_metric([operation_class], _buckets(durations), durations.total_seconds)
    yield seconds
    hours = tally.trend()
    current = hours[-1] if hours and hours[-1].begins == now.replace(minute=0, second=0, microsecond=0) else None
    agents = {} if current is None else current.by_agent
    yield _labelled("ibkr_refusals_this_hour", "Refusals in this hour (UTC), by agent.", "agent", agents)


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    total, found = 0, []
    for bound, count in zip((*map(str, BOUNDS_SECONDS), "+Inf"), durations.counts, strict=True):
        total += count
        found.append((bound, float(total)))
    return found


def _gauge(name: str, text: str, value: float, **labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=list(labels))
    family.add_metric(list(labels.values()), float(value))
    return family


def _labelled(name: str, text: str, label: str, values: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _counted(name: str, text: str, label: str, values: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None  # unknown
