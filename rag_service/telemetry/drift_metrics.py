"""The last report of drift as gauges: read from its file at each scrape, so that any process may have made it."""

import logging
from collections.abc import Callable, Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rag_service.drift.report import Report
from rag_service.errors import RagError

logger = logging.getLogger("rag_service.telemetry")

DRIFT_METRICS = {
    "rag_drift_effect": "How large the difference of a signal is, in its own measure.",
    "rag_drift_floor": "From which effect on a signal may raise an alarm.",
    "rag_drift_p_value": "Of no difference, after the correction for all signals.",
    "rag_drift_alarm": "1 where a signal differs surely and by at least its floor, else 0. The signal system is that of the canaries.",
    "rag_drift_report_timestamp_seconds": "When the last report was made, as Unix time.",
}
"""All have the label `signal` but the last."""


class DriftMetrics(Collector):
    """`read` gives the last report, None where there is none. A signal that is undefined has no series."""

    def __init__(self, read: Callable[[], Report | None]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        try:
            report = self._read()
        except RagError as error:
            logger.warning("the last report of drift cannot be read: %s", error.message)
            return
        if report is None:
            return
        gauges = {name: GaugeMetricFamily(name, told, labels=("signal",)) for name, told in list(DRIFT_METRICS.items())[:-1]}
        for finding in report.defined:
            values = (finding.effect, finding.floor, finding.p_adjusted, float(finding.state == "alarm"))
            for gauge, value in zip(gauges.values(), values, strict=True):
                if value is not None:
                    gauge.add_metric((finding.feature,), value)
        if report.system.state != "undefined":
            gauges["rag_drift_alarm"].add_metric(("system",), float(report.system.state == "alarm"))
        yield from gauges.values()
        name = "rag_drift_report_timestamp_seconds"
        yield GaugeMetricFamily(name, DRIFT_METRICS[name], value=datetime.fromisoformat(report.made_at).timestamp())
