"""Runs as metrics of Prometheus: in its text format, and among Dask's own where prometheus_client is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from scope_dask.watching.figures import Figures

Labels = dict[str, str]


@dataclass
class Metric:
    """A metric and its samples.

    Attributes
    ----------
    name : str
        As it is printed; a counter's ends in ``_total``.
    kind : {"counter", "gauge"}
    meaning : str
    samples : list of (dict, float)
        Labels and value.
    """

    name: str
    kind: str
    meaning: str
    samples: list[tuple[Labels, float]] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"# HELP {self.name} {self.meaning}", f"# TYPE {self.name} {self.kind}"]
        lines += [f"{self.name}{{{_labels(labels)}}} {value!r}" for labels, value in self.samples]
        return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


_METRICS = {
    "scope_run_info": ("gauge", "1 for the state that a run is in, with its folder"),
    "scope_run_partitions": ("gauge", "Partitions of a run"),
    "scope_finished_partitions_total": (
        "counter",
        "Finished partitions, by outcome: computed, reused or failed",
    ),
    "scope_failed_partitions_total": ("counter", "Partitions that could not be computed, by reason"),
    "scope_rows_in_total": ("counter", "Rows that came into a stage"),
    "scope_rows_out_total": ("counter", "Rows that a stage passed on"),
    "scope_rows_dropped_total": ("counter", "Rows that a stage dropped, by reason"),
    "scope_rows_set_aside_total": ("counter", "Rows that a stage could not compute, by reason"),
    "scope_kernel_seconds_total": ("counter", "Seconds in the kernel of a stage, of all workers"),
    "scope_written_rows_total": ("counter", "Rows written, by table"),
    "scope_written_bytes_total": ("counter", "Bytes written"),
    "scope_field_partitions_total": ("counter", "Partitions that are done, by field"),
    "scope_elapsed_seconds": ("gauge", "Time since a run began, or until it ended"),
    "scope_remaining_seconds": ("gauge", "Time that is left to a run at its present pace, where there is one"),
    "scope_light_curves_per_second": ("gauge", "Pace of a run that goes on, mean of one that has ended"),
}


def text(runs: Iterable[Figures]) -> str:
    """Return the metrics of runs in the text format, version 0.0.4."""
    return "".join(map(str, collect(runs)))


def collect(runs: Iterable[Figures]) -> list[Metric]:
    """Return the metrics of runs; each sample has the label ``run``, those of stages ``stage``."""
    found = {name: Metric(name, kind, meaning) for name, (kind, meaning) in _METRICS.items()}
    for run in runs:
        for name, value, labels in _samples(run):
            found[name].samples.append(({"run": run.run, **labels}, value))
    return list(found.values())


def _samples(run: Figures) -> Iterator[tuple[str, float, Labels]]:
    summary = run.summary
    yield "scope_run_info", 1, {"folder": run.folder, "state": run.state}
    yield "scope_run_partitions", summary.partitions, {}
    for outcome, count in (("computed", summary.computed), ("reused", summary.reused), ("failed", run.failed)):
        yield "scope_finished_partitions_total", count, {"outcome": outcome}
    for failure in run.failures:
        yield "scope_failed_partitions_total", failure.count, {"reason": failure.reason}
    for stage, own in summary.stages.items():
        yield "scope_rows_in_total", own.rows_in, {"stage": stage}
        yield "scope_rows_out_total", own.rows_out, {"stage": stage}
        yield "scope_kernel_seconds_total", own.seconds, {"stage": stage}
        for name, counts in (("dropped", own.dropped), ("set_aside", own.set_aside)):
            for reason, count in counts.items():
                yield f"scope_rows_{name}_total", count, {"stage": stage, "reason": reason}
    for table, count in summary.rows.items():
        yield "scope_written_rows_total", count, {"table": table}
    yield "scope_written_bytes_total", summary.bytes_written, {}
    for name, field_state in run.fields.items():
        yield "scope_field_partitions_total", field_state.done, {"field": name}
    yield "scope_elapsed_seconds", run.elapsed, {}
    if run.seconds_left is not None:
        yield "scope_remaining_seconds", run.seconds_left, {}
    yield "scope_light_curves_per_second", run.light_curves_per_second, {}


class _Collector:
    """What prometheus_client asks for the metrics of runs, of all schedulers in this process."""

    def __init__(self) -> None:
        self.sources: list[Callable[[], Iterable[Figures]]] = []

    def collect(self) -> Iterator[Any]:
        """Yield the metrics as families of prometheus_client."""
        from prometheus_client import metrics_core

        families = {"counter": metrics_core.CounterMetricFamily, "gauge": metrics_core.GaugeMetricFamily}
        for metric in collect(run for runs in self.sources for run in runs()):
            family = families[metric.kind](metric.name, metric.meaning)
            for labels, value in metric.samples:
                family.add_sample(metric.name, labels, value)
            yield family


_COLLECTOR = _Collector()


def join_dask(runs: Callable[[], Iterable[Figures]]) -> Callable[[], None]:
    """Have Dask's ``/metrics`` show the metrics of runs, and return what ends it; nothing without prometheus_client."""
    try:
        from prometheus_client import REGISTRY
    except ModuleNotFoundError:
        return lambda: None
    if not _COLLECTOR.sources:
        REGISTRY.register(_COLLECTOR)
    _COLLECTOR.sources.append(runs)

    def leave() -> None:
        _COLLECTOR.sources.remove(runs)
        if not _COLLECTOR.sources:
            REGISTRY.unregister(_COLLECTOR)

    return leave
