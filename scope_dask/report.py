"""The page that a run leaves: what happened to its rows, how long it took, with which options and versions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from scope_dask import html
from scope_dask.diagnostics import PERFORMANCE_REPORT, versions
from scope_dask.html import Number
from scope_dask.summary import RunSummary

REPORT = "report.html"


def write_report(root: Path, summary: RunSummary, options: str) -> Path:
    """Write the page of a run and return its path.

    Parameters
    ----------
    root : Path
        Output folder of the run.
    summary : RunSummary
    options : str
        The options, as YAML.
    """
    sections = {
        "summary": ("Summary", run_table("Run", summary)),
        "failed": ("Partitions set aside", _failed(summary)),
        "options": ("Options", html.preformatted(options)),
        "versions": ("Versions", html.table(["package", "version"], versions().items())),
    }
    if not summary.failed:
        del sections["failed"]
    if (root / PERFORMANCE_REPORT).exists():
        sections["dask"] = ("Dask", html.link(PERFORMANCE_REPORT, "what the workers did, task by task"))
    foot = html.paragraph(f"Written {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC")
    lead = f"{sum(summary.rows.values()):,} rows written to {root}"
    path = root / REPORT
    path.write_text(html.document("scope_dask run", lead, sections, foot), encoding="utf-8")
    return path


def run_table(name: str, summary: RunSummary) -> str:
    """Return what a run did, stage by stage, as HTML."""
    reused = f", {summary.reused} taken from an earlier run" if summary.reused else ""
    failed = f", {len(summary.failed)} set aside as a whole" if summary.failed else ""
    head = f"{name}: {summary.partitions} partitions, {summary.computed} computed in {summary.wall_seconds:.1f} s"
    return html.paragraph(f"{head}{reused}{failed}.") + stage_table(summary)


def stage_table(summary: RunSummary) -> str:
    """Return what each stage did with the rows, as HTML."""
    rows = []
    for stage, own in summary.stages.items():
        rate = f"{own.rows_in / own.seconds:,.1f}" if own.seconds > 0 else "–"
        counts = [own.rows_in, own.rows_out, _reasons(own.dropped), _reasons(own.set_aside)]
        rows.append([stage, *counts, Number(f"{own.seconds:.1f}"), Number(rate)])
    return html.table(
        ["stage", "rows in", "rows out", "dropped", "set aside", "seconds in the kernels", "rows/s/core"], rows
    )


def _reasons(counts: Mapping[str, int]) -> str:
    return "; ".join(f"{n:,} {reason}" for reason, n in counts.items()) or "–"


def _failed(summary: RunSummary) -> str:
    return html.table(["partition", "reason"], sorted(summary.failed.items()))
