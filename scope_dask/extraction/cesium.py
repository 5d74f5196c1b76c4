"""Features of the package cesium (extra ``cesium``), computed by cesium itself for a partition of light curves."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from scope_dask.errors import OptionError, nearest
from scope_dask.ragged import LightCurves
from scope_dask.schema import STATISTICS, Column, Schema

_SOURCE = "Naul et al. 2016, the package cesium"


def cesium_schema(names: Sequence[str]) -> Schema:
    """Return the columns of cesium features; one whose name is a statistic of ours, ``skew``, is ``cesium_skew``."""
    return Schema(
        Column(
            f"cesium_{name}" if name in STATISTICS else name, "float64", "", f"{name} as cesium defines it", "", _SOURCE
        )
        for name in names
    )


def require_cesium(names: Sequence[str]) -> None:
    """Check that cesium is installed and has these features.

    Raises
    ------
    OptionError
    """
    known = _known(_module("cesium.features"))
    for name in names:
        if name not in known:
            raise OptionError(
                f"cesium has no feature {name!r}{nearest(name, known)}; it has {', '.join(sorted(known))}"
            )


def cesium_features(curves: LightCurves, names: Sequence[str]) -> np.ndarray:
    """Compute cesium features of every light curve.

    Parameters
    ----------
    curves : LightCurves
    names : sequence of str
        As cesium has them.

    Returns
    -------
    numpy.ndarray, shape (n, names), float64
        NaN where cesium cannot compute a feature, and in light curves with fewer than two points or with values that
        are not finite.

    Raises
    ------
    OptionError
        If cesium is not installed.
    """
    featurize = _module("cesium.featurize").featurize_single_ts
    series = _module("cesium.time_series").TimeSeries
    out = np.full((len(curves), len(names)), np.nan)
    with warnings.catch_warnings(), np.errstate(all="ignore"):  # of what becomes NaN
        warnings.simplefilter("ignore")
        for i in range(len(curves)):
            t, m, e = curves[i]
            if len(t) > 1 and all(np.isfinite(values).all() for values in (t, m, e)):
                found = featurize(series(t=t, m=m, e=e), list(names), raise_exceptions=False)
                out[i] = found.to_numpy()
    return out


def _known(features: Any) -> set[str]:
    return {*features.CADENCE_FEATS, *features.GENERAL_FEATS, *features.LOMB_SCARGLE_FEATS}


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise OptionError("cesium features need the package cesium: pip install 'scope_dask[cesium]'") from error
