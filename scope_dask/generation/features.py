"""The features stage of the generation: the library's features, periods of 1 d where none are searched, cesium's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from scope_dask import tally
from scope_dask.extraction.cesium import cesium_features, cesium_schema
from scope_dask.extraction.features import FeatureOptions, extract
from scope_dask.generation.options import ONES, GenerationOptions
from scope_dask.ragged import LightCurves
from scope_dask.schema import FOURIER, LIGHTCURVES, Column, Schema
from scope_dask.stage import Stage

_ONES = ("period", "significance", "pdot")


@dataclass(frozen=True)
class Extraction:
    """What the stage computes.

    Attributes
    ----------
    features : FeatureOptions
    ones : bool
        Whether periods are 1 d.
    cesium : tuple of str
    batch : int
        Light curves of a kernel call; it changes no value and is no part of the table's name.
    """

    features: FeatureOptions
    ones: bool
    cesium: tuple[str, ...]
    batch: int

    @classmethod
    def of(cls, options: GenerationOptions) -> Extraction:
        """Return what the options ask for."""
        features = options.features
        if not options.find_periods:
            none = replace(features.periods, algorithms=(), refine=False, aliases=False)
            features = replace(features, periods=none, device="cpu")
        return cls(features, not options.find_periods, options.cesium, options.period_batch_size)

    @property
    def schema(self) -> Schema:
        """The columns of the stage."""
        ones = [Column(f"{name}_{ONES}", "float64") for name in _ONES]
        ones += [Column(f"f1_{name}_{ONES}", "float64") for name in FOURIER]
        return Schema([*cesium_schema(self.cesium), *self.features.periods.schema, *(ones if self.ones else ())])

    def __dask_tokenize__(self) -> Any:
        from dask.base import normalize_token

        return "Extraction", normalize_token((self.features, self.ones, self.cesium))


def extract_in_batches(partition: pd.DataFrame, options: Extraction) -> pd.DataFrame:
    """Compute the features of a partition, at most ``options.batch`` light curves at a time."""
    starts = range(0, max(len(partition), 1), options.batch)
    made = [_extract(partition.iloc[start : start + options.batch], options) for start in starts]
    noted = [tally.take(frame) or {} for frame in made]
    out = pd.concat(made) if len(made) > 1 else made[0]
    return tally.note(out, set_aside=[entry for note in noted for entry in note.get("set_aside", ())])


def _extract(partition: pd.DataFrame, options: Extraction) -> pd.DataFrame:
    found = extract(partition, options.features)
    if not (options.ones or options.cesium):
        return found
    noted = tally.take(found)
    usable = found["n"].notna().to_numpy()
    curves = LightCurves.from_frame(partition)
    added: dict[str, Any] = {}
    if options.cesium:
        values = cesium_features(curves, options.cesium)
        values[~usable] = np.nan
        added |= dict(zip(cesium_schema(options.cesium).names, values.T, strict=True))
    if options.ones:
        added |= _ones(curves, usable, options.features.fourier)
    out = found.assign(**added)
    order = [name for name in found.columns if name not in options.schema] + options.schema.names
    return tally.note(out[order], set_aside=(noted or {}).get("set_aside", ()))


def _ones(curves: LightCurves, usable: np.ndarray, contents: str) -> dict[str, np.ndarray]:
    """Return the columns of periods that were not searched: 1 d each."""
    from scope_dask.extraction.fourier import documented, fourier

    period = np.where(usable, 1.0, np.nan)
    table = fourier(*curves.arrays, period)
    table = documented(table) if contents == "documented" else table
    columns = {f"{name}_{ONES}": period for name in _ONES}
    return columns | {f"f1_{name}_{ONES}": values for name, values in zip(FOURIER, table.T, strict=True)}


def _requires(options: Extraction) -> Schema:
    return LIGHTCURVES


def _provides(options: Extraction) -> Schema:
    return options.schema


EXTRACTION_STAGE = Stage("features", extract_in_batches, _requires, _provides)
