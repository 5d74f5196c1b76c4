"""The stage that flags points after a date, for light curves whose source does not leave them out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scope_dask import ragged, tally
from scope_dask.schema import CATFLAGS, CURVES, RAW_LIGHTCURVES, Schema, carried
from scope_dask.sources.kowalski.lightcurves import PointLimits
from scope_dask.stage import Stage

BAD = 1 << 15  # the bit of ZTF for points that should not be used


def flag_points(partition: pd.DataFrame, limits: PointLimits) -> pd.DataFrame:
    """Flag the points outside the limits, so that the conditioning drops them.

    Light curves whose lists differ in length are left as they are, for the conditioning to set aside.
    """
    hjd, offsets = ragged.split(partition["hjd"])
    flags, places = ragged.split(partition[CATFLAGS.name])
    whole = np.flatnonzero(np.diff(offsets) == np.diff(places))
    points, _ = ragged.gather(offsets, whole)
    flagged, _ = ragged.gather(places, whole)
    keep = limits.keep(hjd[points], np.full(len(points), limits.program_ids[0]))
    flags = np.array(flags, dtype=np.int32)
    flags[flagged[~keep]] |= BAD
    out = partition[[*carried(partition), *CURVES.names]].copy(deep=False)
    out[CATFLAGS.name] = ragged.join(flags, places, partition.index)
    return tally.note(out)


def _requires(limits: PointLimits) -> Schema:
    return RAW_LIGHTCURVES


def _provides(limits: PointLimits) -> Schema:
    return Schema([*CURVES, CATFLAGS])


TIMESTAMPS_STAGE = Stage("timestamps", flag_points, _requires, _provides)


def before(curves: Any, max_timestamp_hjd: float) -> Any:
    """Flag the points after a heliocentric Julian date (d); the conditioning then drops what Kowalski's reader cuts.

    Parameters
    ----------
    curves : dask.dataframe.DataFrame or pandas.DataFrame
        With the columns of ``schema.RAW_LIGHTCURVES``.
    max_timestamp_hjd : float
    """
    return TIMESTAMPS_STAGE(curves, PointLimits(max_timestamp_hjd))
