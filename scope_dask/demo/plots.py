"""The figures of a demonstration that show many light curves at once, as PNG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scope_dask import style
from scope_dask.demo.recovery import ALIAS, MISSED, OUTCOMES

OUTCOME_COLOURS = {"P": style.BLUE, "P/2": style.SKY, "2P": style.GREEN, ALIAS: style.ORANGE, MISSED: style.LIGHT}
OUTCOME_NAMES = {"P": "P", "P/2": "P/2", "2P": "2P", ALIAS: "one-day alias of P", MISSED: "elsewhere"}
_COLUMNS = 4  # at most, of the small figures of one class each
_SEVERAL_CLASSES = len(style.SERIES)


def recovery_scatter(table: pd.DataFrame) -> bytes:
    """Draw periods found against true ones, with the lines of P, P/2, 2P and the one-day aliases."""
    with style.figure(6.6) as (fig, ax):
        _period_lines(ax, table)
        names = table["class_label"].value_counts().index
        for k, name in enumerate(_grouped(table["class_label"], names)):
            rows = (
                table[name == table["class_label"]] if name != "other" else table[table["class_label"].isin(names[7:])]
            )
            ax.scatter(
                rows["period_days"],
                rows["found_days"],
                s=20,
                marker=style.MARKERS[k],
                color=style.SERIES[k],
                alpha=0.65,
                linewidth=0,
                label=f"{name} ({len(rows)})",
                zorder=3,
            )
        ax.set(
            xscale="log",
            yscale="log",
            xlabel="true period (days)",
            ylabel="period found (days)",
            title="Period found against true period",
        )
        fig.legend(loc="outside right upper", title="class (light curves)")
        return style.png(fig)


def _grouped(labels: pd.Series, names: pd.Index) -> list[str]:
    """Return the classes by size, the smallest together as "other" where there are more than colours."""
    return list(names) if len(names) <= _SEVERAL_CLASSES else [*names[: _SEVERAL_CLASSES - 1], "other"]


def _period_lines(ax: Any, table: pd.DataFrame) -> None:
    x = np.geomspace(table["period_days"].min() * 0.7, table["period_days"].max() * 1.4, 2000)
    y = table["found_days"].dropna()
    low, high = (y.min() * 0.6, y.max() * 1.7) if len(y) else (x[0], x[-1])
    with np.errstate(divide="ignore"):
        aliases = (1 / (1 / x + 1), 1 / np.abs(1 / x - 1))
    lines = [(x, "-", "P"), (x / 2, "--", "P/2"), (2 * x, "--", "2P")]
    lines += [(aliases[0], ":", "1/P ± 1/d"), (aliases[1], ":", "")]
    for values, dash, text in lines:
        inside = (values > low) & (values < high)
        ax.plot(x, np.where(inside, values, np.nan), dash, color=style.GREY, linewidth=1.0, zorder=2)
        if inside.any():
            end = np.flatnonzero(inside)[-1]
            ax.annotate(
                text, (x[end], values[end]), xytext=(4, 0), textcoords="offset points", color=style.GREY, fontsize=9,
                va="center",
            )  # fmt: skip
    ax.set_xlim(x[0], x[-1] * 1.8)
    ax.set_ylim(low, high)


def recovery_bars(shares: pd.DataFrame, by: list[str]) -> bytes:
    """Draw the fractions of `recovery.fractions` as one bar a group."""
    names = [" ".join(str(v) for v in row if v) for row in shares[by].to_numpy()]
    names = [f"{name}  ({n})" for name, n in zip(names, shares["light curves"], strict=True)]
    with style.figure(1.2 + 0.34 * len(shares)) as (fig, ax):
        left = np.zeros(len(shares))
        for outcome in OUTCOMES:
            width = shares[outcome].fillna(0).to_numpy() * 100
            ax.barh(names, width, left=left, color=OUTCOME_COLOURS[outcome], label=OUTCOME_NAMES[outcome], height=0.72)
            for y, (start, size) in enumerate(zip(left, width, strict=True)):
                if size >= 6:
                    colour = "white" if outcome == "P" else "black"
                    ax.text(start + size / 2, y, f"{size:.0f}", ha="center", va="center", color=colour, fontsize=9)
            left += width
        ax.invert_yaxis()
        ax.grid(visible=False)
        ax.set(xlim=(0, 100), xlabel="light curves with a known period (%)", title="Where the period was found")
        fig.legend(loc="outside right upper")
        return style.png(fig)


def confusion_matrix(counts: pd.DataFrame) -> bytes:
    """Draw the number of light curves by true (rows) and predicted class (columns), coloured by share of the row."""
    share = counts.div(counts.sum(axis=1).replace(0, np.nan), axis=0).fillna(0).to_numpy()
    size = len(counts)
    with style.figure(2.0 + 0.6 * size) as (fig, ax):
        image = ax.imshow(share * 100, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        for i in range(size):
            for j in range(size):
                if counts.iat[i, j]:
                    colour = "white" if share[i, j] > 0.55 else "black"
                    text = f"{counts.iat[i, j]}\n{share[i, j] * 100:.0f} %"
                    ax.text(j, i, text, ha="center", va="center", color=colour, fontsize=9)
        ax.set_xticks(range(size), counts.columns, rotation=30 if size > 6 else 0, ha="right" if size > 6 else "center")
        ax.set_yticks(range(size), [f"{name}  ({n})" for name, n in counts.sum(axis=1).items()])
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        ax.set(
            xlabel="predicted class: the highest score", ylabel="true class (light curves)", title="Confusion matrix"
        )
        fig.colorbar(image, ax=ax, label="share of the true class (%)", pad=0.015, aspect=35)
        return style.png(fig)


def score_histograms(scores: pd.DataFrame, classes: Mapping[str, str], labels: pd.Series | None) -> bytes:
    """Draw the distribution of each class's score: of its members and of the others where `labels` tell them apart."""
    columns = min(_COLUMNS, len(classes))
    rows = -(-len(classes) // columns)
    bins = np.linspace(0, 1, 26)
    shape = {"nrows": rows, "ncols": columns, "squeeze": False, "sharex": True, "sharey": True}
    with style.figure(0.6 + 2.0 * rows, **shape) as (fig, axes):
        for ax in axes.flat[len(classes) :]:
            ax.set_visible(False)
        for ax, (tag, name) in zip(axes.flat, classes.items(), strict=False):
            parts = [(scores[tag], style.GREY, "all light curves")]
            if labels is not None:
                own = (labels == name).to_numpy()
                parts = [(scores[tag][~own], style.LIGHT, "others"), (scores[tag][own], style.BLUE, "members")]
            for values, colour, label in parts:
                kind = "step" if colour == style.BLUE else "stepfilled"
                ax.hist(values, bins, histtype=kind, color=colour, label=label, linewidth=1.8)
            ax.set(yscale="log", title=name)
        fig.supxlabel("score of the class", fontsize=10)
        fig.supylabel("light curves", fontsize=10)
        fig.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
        return style.png(fig)


def precision_recall(scores: pd.DataFrame, classes: Mapping[str, str], labels: pd.Series) -> bytes:
    """Draw precision against recall of each class, with the average precision."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    with style.figure(4.6) as (fig, ax):
        for k, (tag, name) in enumerate(classes.items()):
            own = (labels == name).to_numpy()
            if not own.any():
                continue
            precision, recall, _ = precision_recall_curve(own, scores[tag])
            dash = "-" if k < len(style.SERIES) else "--"
            ax.step(
                recall, precision, where="post", linestyle=dash, color=style.SERIES[k % len(style.SERIES)],
                label=f"{name}: {average_precision_score(own, scores[tag]):.2f}", linewidth=1.7,
            )  # fmt: skip
        ax.set(
            xlim=(0, 1.01),
            ylim=(0, 1.02),
            xlabel="recall: members with a score above the cut / members",
            ylabel="precision: members / all above the cut",
            title="Precision and recall as the cut on the score moves",
        )
        fig.legend(loc="outside right upper", title="class: average precision")
        return style.png(fig)


def timings(steps: Mapping[str, float], stages: Mapping[str, Mapping[str, float]]) -> bytes:
    """Draw the wall time of each step and the CPU time of each stage of each run, both in seconds."""
    with style.figure(3.4, ncols=2, width_ratios=[1.1, 1]) as (fig, (left, right)):
        _bars(left, list(steps), list(steps.values()), style.BLUE)
        left.set(xlabel="wall time (s)", title="Steps of this demonstration")
        labels = [f"{run}: {stage}" for run, own in stages.items() for stage in own]
        seconds = [s for own in stages.values() for s in own.values()]
        _bars(right, labels, seconds, style.ORANGE)
        right.set(xlabel="time in the kernels (s, all workers)", title="Stages of the runs")
        return style.png(fig)


def _bars(ax: Any, names: list[str], seconds: list[float], colour: str) -> None:
    bars = ax.barh(names, seconds, color=colour, height=0.65)
    ax.bar_label(bars, [f"{s:.1f}" for s in seconds], padding=3, fontsize=9)
    ax.margins(x=0.15)
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
