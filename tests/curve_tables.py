"""Small tables of light curves for the tests of the stages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from scope_dask.schema import SOURCES

Curve = tuple[Any, ...]


def lists(values: Iterable[Any], dtype: Any) -> pd.Series:
    """Return a list column; None is a null row."""
    rows = [None if v is None else np.asarray(v) for v in values]
    return pd.Series(pd.arrays.ArrowExtensionArray(pa.array(rows, type=pa.list_(dtype))))


def curve_table(curves: Sequence[Curve], *, first_id: int = 100, float_type: Any = None) -> pd.DataFrame:
    """Return a partition of light curves (hjd, mag, magerr) or, with catflags, of raw ones."""
    n, mags = len(curves), float_type or pa.float64()
    frame = pd.DataFrame(
        {
            "_id": first_id + np.arange(n),
            "ra": np.linspace(10.0, 11.0, n),
            "dec": np.linspace(-5.0, 5.0, n),
            **{name: np.full(n, 1) for name in ("field", "ccd", "quad", "filter")},
        }
    ).astype({c.name: c.dtype for c in SOURCES})
    dtypes = {"hjd": pa.float64(), "mag": mags, "magerr": mags, "catflags": pa.int32()}
    width = len(curves[0]) if n else 4
    for k, (name, dtype) in enumerate(list(dtypes.items())[:width]):
        frame[name] = lists([c[k] for c in curves], dtype)
    return frame


def observed(n: int, *, seed: int = 0, period: float = 0.7, baseline: float = 60.0) -> tuple[np.ndarray, ...]:
    """Return (hjd, mag, magerr) of a sinusoid in noise, in time order."""
    rng = np.random.default_rng(seed)
    hjd = 2458200.5 + np.sort(rng.uniform(0, baseline, n))
    magerr = rng.uniform(0.02, 0.06, n)
    return hjd, 17 + 0.3 * np.sin(2 * np.pi * hjd / period) + magerr * rng.normal(size=n), magerr
