"""Single light curves: which to show, and the figure of one, folded beside its periodogram, as PNG."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scope_dask import style
from scope_dask.demo.curves import DrawnCurve
from scope_dask.demo.recovery import ALIAS, MISSED, RATIOS

SHOWN = 12
_QUANTILES = (0.9, 0.5, 0.75, 0.25)
_STATISTIC = {
    "LS": "Lomb-Scargle power",
    "CE": "conditional entropy",
    "AOV": "analysis of variance",
    "ELS": "Lomb-Scargle power",
    "ECE": "conditional entropy",
    "EAOV": "analysis of variance",
    "ELS_ECE_EAOV": "analysis of variance",
}
_MATCH = {name: f"found at {name}" for name in RATIOS} | {ALIAS: "a one-day alias", MISSED: "missed"}


@dataclass(frozen=True)
class Caption:
    """What stands above a light curve.

    Attributes
    ----------
    head : str
        Class, known or given by the scores.
    period, true_period : float
        Days; NaN where there is none.
    match : str
        Where the period was found, as `match_periods` says.
    scores : dict of str to float
        The highest scores by tag, best first.
    """

    head: str
    period: float
    true_period: float
    match: str
    scores: Mapping[str, float]

    def __str__(self) -> str:
        known = f" (true: {self.true_period:.6g} d, {_MATCH[self.match]})" if np.isfinite(self.true_period) else ""
        scores = ", ".join(f"{tag} {score:.2f}" for tag, score in self.scores.items())
        return f"{self.head} · period {self.period:.6g} d{known} · scores: {scores}"


def choose(scores: pd.DataFrame, labels: pd.Series, classes: Mapping[str, str], count: int = SHOWN) -> list[int]:
    """Choose light curves to show by a rule, not by hand: of each class those at set quantiles of its own score.

    Parameters
    ----------
    scores : pandas.DataFrame
        ``_id`` and one column per tag.
    labels : pandas.Series
        Class of each row of `scores`, known or given by the scores.
    classes : mapping of str to str
        Class by tag; of the first ones more are shown where not all can be.
    count : int

    Returns
    -------
    list of int
        At most `count` values of ``_id``, class by class.
    """
    ranked = {tag: _ranked(scores[labels == name], tag) for tag, name in classes.items()}
    found: list[tuple[int, int]] = []
    for quantile in _QUANTILES:
        for place, ids in enumerate(ranked.values()):
            row = round(quantile * (len(ids) - 1))
            if len(ids) and len(found) < count and (place, ids[row]) not in found:
                found.append((place, ids[row]))
    return [i for _, i in sorted(found, key=lambda pair: pair[0])]


def _ranked(rows: pd.DataFrame, tag: str) -> list[int]:
    return [int(i) for i in rows.sort_values([tag, "_id"])["_id"]]


def folded_curve(curve: DrawnCurve, caption: Caption, algorithm: str) -> bytes:
    """Draw a light curve folded twice over, beside its periodogram with the period found (and the true one) marked."""
    with style.figure(2.75, ncols=2, width_ratios=[1, 1.05]) as (fig, (left, right)):
        _fold(left, curve, caption.period)
        _periodogram(right, curve, caption, algorithm)
        fig.suptitle(str(caption), x=0.008, ha="left", fontsize=10.5, fontweight="bold")
        return style.png(fig)


def _fold(ax: Any, curve: DrawnCurve, period: float) -> None:
    band, colour = style.FILTERS.get(curve.filter, ("", style.BLUE))
    if np.isfinite(period):
        phase = ((curve.hjd - curve.hjd[0]) / period) % 1.0
        x, copies, label = np.concatenate([phase, phase + 1.0]), 2, "phase (two periods)"
        ax.set_xlim(0, 2)
    else:
        x, copies, label = curve.hjd - curve.hjd[0], 1, "time since the first point (d)"
    mag, error = np.tile(curve.mag, copies), np.tile(curve.magerr, copies)
    ax.errorbar(
        x, mag, error, fmt="o", color=colour, markersize=2.8, markeredgewidth=0, elinewidth=0.6, ecolor="#9ca3af",
        alpha=0.8,
    )  # fmt: skip
    ax.invert_yaxis()
    ax.set(xlabel=label, ylabel=f"{band} magnitude".strip())


def _periodogram(ax: Any, curve: DrawnCurve, caption: Caption, algorithm: str) -> None:
    ax.plot(curve.frequency, curve.value, color="#374151", linewidth=0.7, zorder=3)
    ax.set(xscale="log", xlabel="frequency (cycles/day)", ylabel=_STATISTIC[algorithm])
    ax.margins(y=0.12)
    if np.isfinite(caption.true_period):
        ax.axvline(1 / caption.true_period, color=style.SKY, linewidth=6, alpha=0.45, zorder=1, label="true period")
    if np.isfinite(caption.period) and len(curve.frequency):
        frequency = 1 / caption.period
        peak = curve.value[np.argmin(np.abs(np.log(curve.frequency / frequency)))]
        ax.axvline(frequency, color=style.VERMILION, linestyle=":", linewidth=1.0, zorder=2)
        ax.plot(frequency, peak, "v", color=style.VERMILION, markersize=8, zorder=4, label="period found")
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderpad=0, handlelength=1.6)
