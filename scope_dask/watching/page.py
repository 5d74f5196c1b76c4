"""The page of a scheduler's runs, made on the scheduler whenever it is asked for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from dask.utils import format_bytes

from scope_dask import html
from scope_dask.html import Number
from scope_dask.report import stage_table
from scope_dask.watching.figures import Figures, clock
from scope_dask.watching.state import FieldState

if TYPE_CHECKING:
    from scope_dask.watching.scheduler import Cluster

MOST_FIELDS = 40  # shown

_STYLE = """
h2 { display: flex; flex-wrap: wrap; gap: 4px 12px; align-items: baseline; overflow-wrap: anywhere; }
h3 { font-size: 16px; margin: 18px 0 2px; }
.state { font-size: 13px; font-weight: 600; border: 1px solid currentColor; border-radius: 10px; padding: 0 9px; }
.running { color: var(--accent); }
.ended, .lost { color: var(--bad); }
summary { cursor: pointer; padding: 10px 4px; }
details section { margin-top: 4px; }
td progress { min-width: 120px; }
td { overflow-wrap: anywhere; }
"""

# Addresses are relative to the page, so that it works behind a tunnel or a proxy that puts something before them.
_SCRIPT = """
const now = document.getElementById("now"), silent = document.getElementById("silent");
const time = document.getElementById("time");
let last = "";
async function look() {
  try {
    const answer = await fetch("scope/now", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.status);
    const text = await answer.text();
    if (text !== last) {
      const open = [...now.querySelectorAll("details[open]")].map((one) => one.id);
      now.innerHTML = text;
      for (const id of open) document.getElementById(id)?.setAttribute("open", "");
      last = text;
    }
    time.textContent = new Date().toLocaleTimeString();
    silent.hidden = true;
  } catch {
    silent.hidden = false;
  }
  setTimeout(look, 2000);
}
look();
"""

_STATES = {"ended": "ended early", "lost": "its program is gone"}


def document(runs: Sequence[Figures], cluster: Cluster) -> str:
    """Return the page, which goes on asking for its `content`."""
    links = " ".join(
        html.link(address, name)
        for address, name in (
            ("status", "Dask dashboard"),
            ("scope/runs.json", "these numbers as JSON"),
            ("scope/metrics", "for Prometheus"),
        )
    )
    silent = (
        '<p id="silent" class="note" role="status" hidden>The scheduler does not answer: '
        'these numbers are of <span id="time">an earlier time</span>.</p>'
    )
    body = (
        f"<header><h1>scope_dask: runs</h1><nav>{links}</nav>{silent}</header>\n"
        f'<main id="now">\n{content(runs, cluster)}\n</main>\n<footer></footer>\n<script>{_SCRIPT}</script>'
    )
    refresh = '<noscript><meta http-equiv="refresh" content="10"></noscript>'
    return html.page("scope_dask: runs", body, f"<style>{_STYLE}</style>\n{refresh}\n")


def content(runs: Sequence[Figures], cluster: Cluster) -> str:
    """Return what the page shows now: the cluster, runs that go on and the last one, earlier ones to be opened."""
    first = [run for k, run in enumerate(runs) if k == 0 or run.running]
    earlier = [run for run in runs if run not in first]
    parts = [_cluster(cluster), *(_section(run) for run in first)]
    if not runs:
        parts.append(html.paragraph("No run has been started here yet."))
    if earlier:
        parts.append("<h2>Earlier</h2>")
    parts += [
        f'<details id="{escape(run.run)}"><summary>{escape(_short(run))}</summary>{_section(run)}</details>'
        for run in earlier
    ]
    return "\n".join(parts)


def _cluster(cluster: Cluster) -> str:
    text = f"{cluster.workers} workers with {cluster.threads} threads, {cluster.processing} tasks with them."
    return html.paragraph(text) + (html.paragraph(f"Waiting: {cluster.waiting}.", "note") if cluster.waiting else "")


def _short(run: Figures) -> str:
    failed = f", {run.failed} set aside" if run.failed else ""
    return (
        f"{run.run}: {_STATES.get(run.state, run.state)}, {_time(run.started)}, {clock(run.elapsed)}; "
        f"{run.finished} of {run.summary.partitions} partitions{failed}, {run.light_curves:,} light curves"
    )


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _section(run: Figures) -> str:
    state = f'<span class="state {run.state}">{_STATES.get(run.state, run.state)}</span>'
    most = run.summary.partitions
    parts = [
        f"<h2>{escape(run.run)} {state}</h2>",
        f'<p class="soft"><code>{escape(run.folder)}</code> since {_time(run.started)}</p>',
        html.paragraph(run.said, "note") if run.said else "",
        html.progress(run.finished, most, f"{run.finished} of {most} partitions"),
        html.headline(_headline(run)),
    ]
    if run.summary.stages:
        parts += ["<h3>Stages</h3>", stage_table(run.summary)]
    if run.failures:
        parts += ["<h3>Partitions set aside</h3>", _failures(run)]
    if run.fields:
        parts += ["<h3>Fields</h3>", _fields(run)]
    return f"<section>{''.join(parts)}</section>"


def _headline(run: Figures) -> dict[str, str]:
    """Return the main figures by caption."""
    summary = run.summary
    reused = f", {summary.reused:,} of an earlier run" if summary.reused else ""
    shown = {f"of {summary.partitions:,} partitions{reused}": f"{run.finished:,}"}
    shown["light curves"] = f"{run.light_curves:,}"
    shown["light curves/s"] = f"{run.light_curves_per_second:,.1f}"
    if run.seconds_left is not None:
        shown[f"left, until {_time(time.time() + run.seconds_left)}"] = clock(run.seconds_left)
    elif run.running:
        shown["left: nothing finished yet"] = "?"
    else:
        shown["from begin to end"] = clock(run.elapsed)
    expected = f" of about {format_bytes(run.bytes_expected)}" if run.bytes_expected is not None else ""
    shown[f"written{expected}"] = format_bytes(summary.bytes_written)
    if run.failed:
        shown["partitions set aside"] = f"{run.failed:,}"
    return shown


def _failures(run: Figures) -> str:
    rows = [
        [failure.count, failure.reason, ", ".join(map(str, failure.partitions)) + ("…" if more else "")]
        for failure in run.failures
        for more in [failure.count > len(failure.partitions)]
    ]
    return html.table(["partitions", "reason", "which"], rows)


def _fields(run: Figures) -> str:
    rows = [_field(name, own) for name, own in list(run.fields.items())[:MOST_FIELDS]]
    more = len(run.fields) - len(rows)
    table = html.table(["field", "", "partitions done", "of", "set aside", "rows written"], rows)
    return table + (html.paragraph(f"… and {more} more fields.", "soft") if more else "")


def _field(name: str, own: FieldState) -> list[str | int]:
    finished, most = own.done + own.failed, own.partitions
    if most is None:
        return [name, "", own.done, Number("?"), own.failed, own.rows]
    bar = html.progress(finished, most, f"field {name}: {finished} of {most} partitions")
    return [name, bar, own.done, Number(f"{most:,}"), own.failed, own.rows]
