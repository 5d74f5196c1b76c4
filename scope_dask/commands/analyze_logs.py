"""``analyze-logs``: how long jobs ran, how many failed and why, from their logs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from scope_dask.commands._parser import Call, Command, option

if TYPE_CHECKING:
    from scope_dask.cluster.joblogs import JobLog

SECONDS_PER_HOUR = 3600.0
MOST_SHOWN = 10  # tasks that are named for each reason


def day(text: str) -> datetime:
    """Return the time of a date such as ``2023-12-27``, UTC unless it says otherwise.

    Raises
    ------
    ValueError
        If it is none.
    """
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


ARGUMENTS = (
    option("--logs-path", "folder of the logs", default="generated_features/logs"),
    option("--logs-name-pattern", "what the names of the logs begin with", default="ztf_fg"),
    option("--logs-suffix", "what they end with", default="out"),
    option("--output-prefix", "table of all logs, without .csv", default="runtime_output"),
    option("--plot-name", "histogram of the run times, without .pdf", default="quad_runtime_hist"),
    option("--start-date", "only jobs that began on this day or later, such as 2023-12-27", day),
)


def run(call: Call) -> None:
    """Summarise logs, and write a table and a histogram."""
    from scope_dask.cluster.joblogs import find_logs

    options = call.options
    table, plot = Path(f"{options.output_prefix}.csv"), Path(f"{options.plot_name}.pdf")
    logs = list(find_logs(Path(options.logs_path), options.logs_name_pattern, options.logs_suffix.lstrip(".")))
    if options.start_date is not None:
        logs = [log for log in logs if began(log) >= options.start_date]
    for line in summary(logs):
        call.say(line)
    if call.dry_run:
        call.say(f"would write {table} and {plot}")
        return
    write_table(logs, table)
    drawn = draw([log.seconds for log in logs if log.done and log.seconds is not None], plot)
    call.say(f"{table}" + (f" and {plot}" if drawn else ""))


def began(log: JobLog) -> datetime:
    """Return when a job began; of a log that does not tell, when it was written last."""
    return log.started or datetime.fromtimestamp(log.path.stat().st_mtime, UTC)


def summary(logs: Sequence[JobLog]) -> list[str]:
    """Return the lines to print: counts, run times, and the failures by reason, the most frequent first."""
    import numpy as np

    last = {log.task or log.path.name: log for log in logs}  # a task that was tried again counts once
    done = [log for log in last.values() if log.done]
    lines = [f"{len(logs)} logs of {len(last)} tasks: {len(done)} done, {len(last) - len(done)} not"]
    if seconds := [log.seconds for log in done if log.seconds is not None]:
        low, middle, high = np.percentile(seconds, (5, 50, 95)) / SECONDS_PER_HOUR
        total = sum(seconds) / SECONDS_PER_HOUR
        lines.append(
            f"run time: median {middle:.3g} h, 5 % below {low:.3g} h, 5 % above {high:.3g} h, {total:.3g} h in all"
        )
    if rows := sum(log.rows for log in done if log.rows):
        lines.append(f"{rows} light curves, {rows / max(sum(seconds), 1):.3g} a second and job")
    reasons: dict[str, list[str]] = {}
    for name, log in last.items():
        if not log.done:
            reasons.setdefault(log.reason, []).append(name)
    for reason, names in sorted(reasons.items(), key=lambda item: -len(item[1])):
        more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
        lines.append(f"{len(names)} failed: {reason} ({' '.join(names[:MOST_SHOWN])}{more})")
    return lines


def write_table(logs: Sequence[JobLog], path: Path) -> None:
    """Write a row for each log."""
    import pandas as pd

    from scope_dask.formats.atomic import replacing

    columns = ("task", "job", "node", "started", "seconds", "rows", "exit_code")
    frame = pd.DataFrame([{name: getattr(log, name) for name in columns} for log in logs], columns=list(columns))
    frame = frame.astype({"rows": "Int64", "exit_code": "Int64"})
    frame["reason"] = [log.reason for log in logs]
    frame["log"] = [str(log.path) for log in logs]
    with replacing(path) as temporary:
        frame.to_csv(temporary, index=False, date_format="%Y-%m-%dT%H:%M:%SZ")


def draw(seconds: Sequence[float], path: Path) -> bool:
    """Draw the histogram of run times; False where there are none, or matplotlib is not installed."""
    import numpy as np

    from scope_dask import style
    from scope_dask.formats.atomic import replacing
    from scope_dask.training.figures import can_draw

    if not seconds or not can_draw():
        return False
    with replacing(path) as temporary, style.figure(4.0) as (fig, ax):
        ax.hist(np.asarray(seconds) / SECONDS_PER_HOUR, bins="auto", color=style.BLUE)
        ax.set(xlabel="run time (h)", ylabel="jobs", title=f"{len(seconds)} jobs")
        fig.savefig(temporary, format="pdf", metadata={"CreationDate": None})
    return True


COMMAND = Command(
    "analyze-logs", "Tell from the logs of jobs how long they ran, how many failed and why.", ARGUMENTS, run
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
