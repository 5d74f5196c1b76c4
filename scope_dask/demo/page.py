"""The page of a demonstration: tables and figures of everything it found, in one HTML file."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
from distributed import Client

from scope_dask import html
from scope_dask.config import PipelineOptions
from scope_dask.demo import plots
from scope_dask.demo.curves import drawn_curves
from scope_dask.demo.folded import SHOWN, Caption, choose, folded_curve
from scope_dask.demo.recovery import ALIAS, MIN_POINTS, MISSED, RATIOS, match_periods
from scope_dask.demo.results import Recovery, Results
from scope_dask.diagnostics import PERFORMANCE_REPORT, versions
from scope_dask.html import Number
from scope_dask.report import REPORT, run_table
from scope_dask.training.evaluation import best_class

_TOP_SCORES = 3


def write_page(results: Results, client: Client, options: PipelineOptions) -> Path:
    """Write the page of a demonstration and return its path.

    Parameters
    ----------
    results : Results
    client : distributed.Client
        Computes the periodograms of the light curves that are shown.
    options : PipelineOptions
        Of the main run.
    """
    sections = {
        "summary": ("Summary", _summary(results)),
        "recovery": ("Period recovery", _recovery(results)),
        "confusion": ("Classification", _confusion(results)),
        "scores": ("Scores", _scores(results)),
        "curves": ("Light curves", _curves(results, client, options)),
        "timings": ("Timings", _timings(results)),
        "files": ("Files, reports and versions", _files(results)),
    }
    lead = f"{results.source}, scored by models trained on: {results.trained_on}"
    foot = html.paragraph(f"Written {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC by: {results.command}")
    path = results.out / REPORT
    path.write_text(html.document("scope_dask: light curves in, scores out", lead, sections, foot), encoding="utf-8")
    return path


def _summary(results: Results) -> str:
    main = list(results.summaries.values())[-1]
    rows_in = next(iter(main.stages.values())).rows_in if main.stages else 0
    headline = {"light curves read": f"{rows_in:,}", "scored": f"{len(results.scores):,}"}
    if results.recovery is not None:
        total = results.recovery.total
        headline[f"of {total['light curves']:,} known periods found"] = f"{total['recovered']:.1%}"
    if results.classification is not None:
        headline["in their class (highest score)"] = f"{results.classification.accuracy:.1%}"
    headline["for everything on this page"] = f"{sum(results.steps.values()):.0f} s"
    parts = [html.headline(headline)]
    if results.foreign_models:
        parts.append(
            html.paragraph(
                "These are real light curves, but there are no (or too few) labels with them: the models were trained "
                "on simulated light curves. Take the scores as a demonstration, not as a classification.",
                "note",
            )
        )
    parts += [run_table(f"Run of the {name}", summary) for name, summary in results.summaries.items()]
    return "\n".join(parts)


def _recovery(results: Results) -> str:
    found = results.recovery
    if found is None:
        return html.paragraph("Nothing is known about the periods of these light curves.")
    definition = (
        f"Best period of {results.algorithm} against the true one, of the {len(found.table):,} light curves with a "
        f"known period and at least {MIN_POINTS} points after conditioning. A period counts as P, P/2 or 2P if its "
        "frequency is within 0.5 % of that of P, P/2 or 2P, or within 1.5/baseline; in this order. A one-day alias of "
        "P lies at 1/P ± 1/d."
    )
    parts = [
        html.paragraph(definition),
        html.image(plots.recovery_scatter(found.table), "Periods found against true periods, both in days"),
        html.image(
            plots.recovery_bars(found.shares, found.by), "Fractions of periods found at P, P/2, 2P and elsewhere"
        ),
        _recovery_table(found),
    ]
    return "\n".join(parts)


def _recovery_table(found: Recovery) -> str:
    own = _share_table(found.shares, found.by, {name: name for name in (*RATIOS, "recovered", ALIAS, MISSED)})
    if not found.others:
        return own
    columns = {"P": "P", "recovered": "recovered"}
    for name in found.others:
        columns |= {f"{name}: P": f"{name}: P", f"{name}: recovered": "recovered"}
    text = "Recovered: P, P/2 or 2P. The same light curves by other searches, each at P and recovered:"
    return own + html.paragraph(text) + _share_table(found.columns(), found.by, columns)


def _share_table(shares: pd.DataFrame, by: list[str], columns: dict[str, str]) -> str:
    """Return fractions as a table; `columns` are their headings by name."""
    rows = [
        [*(str(row[c]) for c in by), int(row["light curves"]), *(Number(_percent(row[c])) for c in columns)]
        for row in shares.to_dict("records")
    ]
    heads = [*by, "light curves", *columns.values()]
    return html.table([h.replace("_", " ") for h in heads], rows, total=True)


def _percent(value: float) -> str:
    return f"{value * 100:.1f} %" if np.isfinite(value) else "–"


def _confusion(results: Results) -> str:
    found = results.classification
    if found is None:
        names = best_class(results.scores[list(results.classes)]).map(dict(results.classes))
        rows = [[str(name), int(count)] for name, count in names.value_counts().items()]
        text = "The classes of these light curves are not known. Light curves by the class of their highest score:"
        return html.paragraph(text) + html.table(["class", "light curves"], rows)
    how = (
        "Each light curve was scored by models that have not seen its star (five-fold cross-validation, all light "
        "curves of a star in one fold)."
        if found.cross_validated
        else "The models were trained on another field: other stars, other nights, other random numbers."
    )
    text = (
        f"{how} One model per class; the predicted class is the one of the highest score: {found.accuracy:.1%} of "
        f"{len(found.labels):,} light curves are in their class, {found.balanced_accuracy:.1%} on average over the "
        "classes."
    )
    picture = html.image(plots.confusion_matrix(found.confusion()), "Confusion matrix: true against predicted class")
    return html.paragraph(text) + picture


def _scores(results: Results) -> str:
    found = results.classification
    if found is None:
        picture = plots.score_histograms(results.scores, results.classes, None)
        return html.image(picture, "Histogram of the scores of each class")
    histograms = plots.score_histograms(found.scores, found.classes, found.labels)
    curves = plots.precision_recall(found.scores, found.classes, found.labels)
    return html.image(histograms, "Histogram of the scores of each class, members and others") + html.image(
        curves, "Precision against recall of each class"
    )


def _curves(results: Results, client: Client, options: PipelineOptions) -> str:
    scores, labels = _labelled(results)
    chosen = choose(scores, labels, _periodic_first(results), SHOWN)
    drawn = drawn_curves(client, options, chosen)
    text = (
        f"Of each class the light curves at the 90 % and 50 % quantiles of the score of their own class (up to {SHOWN} "
        "in all, classes with periods first): chosen by this rule, not by hand. Points with their errors, folded "
        "with the period found; beside them the periodogram that decided, with the period found and the true one. "
        "(In a nested search it decides between the best peaks of two other methods: its own highest may not be one.)"
    )
    by_id = scores.set_index("_id")
    known = results.classification is not None
    periods = results.features.set_index("_id")[f"period_{results.algorithm}"]
    truth = {} if results.truth is None else results.truth.set_index("_id")["period_days"].to_dict()
    parts = [html.paragraph(text)]
    for i in chosen:
        label = str(labels[scores["_id"] == i].iloc[0])
        best = by_id.loc[i].astype(float).sort_values(ascending=False).head(_TOP_SCORES)
        head = label if known else f"{label}?"
        period, true = float(periods[i]), float(truth.get(i, np.nan))
        match = str(match_periods(period, true, np.ptp(drawn[i].hjd)))
        caption = Caption(head, period, true, match, best.to_dict())
        picture = folded_curve(drawn[i], caption, results.algorithm)
        parts.append(html.image(picture, f"Light curve {i}, folded, with its periodogram: {caption}"))
    return "\n".join(parts)


def _labelled(results: Results) -> tuple[pd.DataFrame, pd.Series]:
    """Return scores and the class of each row: known, or given by the highest score."""
    found = results.classification
    if found is not None:
        return found.scores, found.labels
    scores = results.scores.dropna(ignore_index=True)
    return scores, best_class(scores[list(results.classes)]).map(dict(results.classes))


def _periodic_first(results: Results) -> dict[str, str]:
    """Return the classes, those with known periods first."""
    table = None if results.recovery is None else results.recovery.table
    periodic = (
        {"RR Lyrae ab", "RR Lyrae c", "EA", "EW", "sinusoidal", "LPV"} if table is None else {*table["class_label"]}
    )
    return dict(sorted(results.classes.items(), key=lambda item: item[1] not in periodic))


def _timings(results: Results) -> str:
    stages = {run: {name: s.seconds for name, s in own.stages.items()} for run, own in results.summaries.items()}
    text = "Left: this call, step by step. Right: what the runs spent in each stage, reused partitions included."
    return html.paragraph(text) + html.image(plots.timings(results.steps, stages), "Seconds by step and by stage")


def _files(results: Results) -> str:
    entries = {
        "training": "run on the training field",
        "models": "models, with their manifests",
        "run/features": "features (Parquet)",
        "run/scores": "scores (Parquet)",
        "run/set_aside": "what could not be computed, with reasons (Parquet)",
        "recovery.csv": "period recovery",
        "confusion.csv": "confusion matrix",
        f"run/{REPORT}": "page of the main run: rows, times, options",
        f"training/{PERFORMANCE_REPORT}": "Dask's report of the run on the training field",
        f"run/{PERFORMANCE_REPORT}": "Dask's report of the main run: task stream, workers, bandwidth",
    }
    there = [(path, text) for path, text in entries.items() if (results.out / path).exists()]
    items = "".join(f"<li>{html.link(path, path)}: {text}</li>" for path, text in there)
    rows = [[name, version] for name, version in versions().items()]
    return (
        f"<ul>{items}</ul>\n<p>The command that made this page:</p>\n{html.preformatted(results.command)}\n"
        + html.table(["package", "version"], rows)
    )
