"""Runs in a terminal: the numbers of the page, as lines."""

from __future__ import annotations

import time

from dask.utils import format_bytes
from distributed import Client

from scope_dask.watching.figures import Figures, clock, figures
from scope_dask.watching.scheduler import Runs

MOST_FIELDS = 10  # shown


def runs_of(client: Client) -> list[Figures]:
    """Return what a scheduler was told of runs, the newest first."""
    client.register_plugin(Runs())  # where there was no run yet
    return [figures(**told) for told in client.sync(client.scheduler.scope_runs)]


def line(run: Figures) -> str:
    """Return how far a run is, in one line."""
    failed = f", {run.failed} set aside" if run.failed else ""
    head = f"{run.finished} of {run.summary.partitions} partitions{failed}"
    rate = f"{run.light_curves_per_second:,.1f} light curves/s"
    left = f", {clock(run.seconds_left)} left" if run.seconds_left is not None else ""
    return f"{head}, {rate}{left}"


def lines(run: Figures) -> list[str]:
    """Return what is known of a run."""
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started))
    state = {"ended": f"ended ({run.said})", "lost": "its program is gone"}.get(run.state, run.state)
    found = [
        f"run {run.run}: {state}, since {since}, {clock(run.elapsed)}; {line(run)}",
        f"  {run.folder}: {written(run)}",
    ]
    if run.summary.reused:
        found.append(f"  {run.summary.reused} partitions taken from an earlier run")
    found += [f"  {text}" for text in run.summary.stage_lines()]
    for name, own in list(run.fields.items())[:MOST_FIELDS]:
        of = "" if own.partitions is None else f" of {own.partitions}"
        failed = f", {own.failed} set aside" if own.failed else ""
        found.append(f"  field {name:<6} {own.done}{of} partitions{failed}, {own.rows:,} rows")
    if len(run.fields) > MOST_FIELDS:
        found.append(f"  … and {len(run.fields) - MOST_FIELDS} more fields")
    found += [f"  {failure.count} set aside as a whole: {failure.reason}" for failure in run.failures]
    return found


def written(run: Figures) -> str:
    """Return what a run has written: rows by table, and bytes."""
    rows = ", ".join(f"{count:,} rows" + (f" of {table}" if table else "") for table, count in run.summary.rows.items())
    expected = f" of about {format_bytes(run.bytes_expected)}" if run.bytes_expected is not None else ""
    return f"{rows or 'no rows yet'}, {format_bytes(run.summary.bytes_written)}{expected} written"
