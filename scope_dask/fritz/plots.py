"""Figures of a source's light curves, as PNG, for comments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scope_dask.fritz.lightcurves import FILTERS
from scope_dask.style import FILTERS as BANDS
from scope_dask.style import figure, png

_HEIGHT = 4.0  # inches


def time_series(points: pd.DataFrame, title: str) -> bytes:
    """Return a figure of magnitudes over time, a colour a filter.

    Parameters
    ----------
    points : pandas.DataFrame
        As `scope_dask.fritz.lightcurves.points_of` gives them.
    title : str
    """
    with figure(_HEIGHT) as (fig, axes):
        _draw(axes, points, points["mjd"].to_numpy(), title)
        axes.set_xlabel("MJD / d")
        return png(fig)


def folded(points: pd.DataFrame, period: float, title: str) -> bytes:
    """Return a figure of magnitudes over phase, twice, folded by a period (d) from the first point on."""
    times = points["hjd"].to_numpy()
    phase = np.mod((times - times.min()) / period, 1.0) if len(times) else times
    twice = pd.concat([points, points], ignore_index=True)
    with figure(_HEIGHT) as (fig, axes):
        _draw(axes, twice, np.concatenate([phase, phase + 1.0]), f"{title}, period {period:.8g} d")
        axes.set_xlabel("phase")
        return png(fig)


def _draw(axes: Any, points: pd.DataFrame, x: np.ndarray, title: str) -> None:
    for number, name in FILTERS.items():
        own = (points["filter"] == name).to_numpy()
        if own.any():
            label, colour = BANDS[number]
            mag, magerr = points["mag"].to_numpy()[own], points["magerr"].to_numpy()[own]
            axes.errorbar(x[own], mag, magerr, fmt=".", color=colour, ecolor=colour, elinewidth=0.5, label=label)
    axes.invert_yaxis()
    axes.set_ylabel("magnitude (AB)")
    axes.set_title(title)
    if len(points):
        axes.legend()
