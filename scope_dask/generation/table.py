"""The lazy table of features: light curves, bright-star exclusion, features, alerts, cross-matches, in file order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa

from scope_dask.conditioning.lightcurves import LIGHTCURVES_STAGE
from scope_dask.crossmatch import AlertOptions, alert_statistics, crossmatch, drop_close_bright_stars
from scope_dask.crossmatch.schema import ALERT_STATISTICS, external_schema
from scope_dask.extraction.cesium import cesium_schema, require_cesium
from scope_dask.generation.features import EXTRACTION_STAGE, Extraction
from scope_dask.generation.options import GenerationOptions, Quadrant, SpecificIds
from scope_dask.generation.origins import Catalogs, Origin
from scope_dask.schema import DMDT, FOURIER, STATISTICS

GEOMETRY, NAME = "radec_geojson", "fritz_name"
_PLACE = ("_id", GEOMETRY, NAME, "ra", "dec", "field", "ccd", "quad", "filter")
_GEOMETRY_TYPE = pd.ArrowDtype(pa.struct({"coordinates": pa.list_(pa.float64())}))
_TEXT = pd.StringDtype(na_value=np.nan)


def feature_table(
    origin: Origin, what: Quadrant | SpecificIds, options: GenerationOptions, catalogs: Catalogs | None = None
) -> dd.DataFrame:
    """Return the features of a quadrant or of specific ids as a lazy table.

    Parameters
    ----------
    origin : Origin
        Where the light curves come from.
    what : Quadrant or SpecificIds
    options : GenerationOptions
    catalogs : Catalogs, optional
        By default none: no exclusion near bright stars, no alerts, no cross-matches.

    Returns
    -------
    dask.dataframe.DataFrame
        One row a light curve. Columns in the order of SCoPe 0.9.5: identification, cesium features, statistics,
        periods, Fourier decompositions, dmdt, alerts, cross-matches; then the columns that it does not have.
        ``radec_geojson`` holds right ascension − 180 and declination in deg.

    Raises
    ------
    SourceError, OptionError, SchemaError
        Whatever can be found wrong before anything is computed.
    """
    catalogs = catalogs or Catalogs()
    if options.cesium:
        require_cesium(options.cesium)
    table = LIGHTCURVES_STAGE(origin.light_curves(what, options), options.lightcurves)
    if options.bright_stars is not None and catalogs.gaia is not None:
        table = drop_close_bright_stars(table, catalogs.gaia, options.bright_stars)
    table = EXTRACTION_STAGE(table, Extraction.of(options))
    if catalogs.alerts is not None:
        table = alert_statistics(table, catalogs.alerts, AlertOptions(options.crossmatch.radius_arcsec))
    fields = {name: options.crossmatch.fields.get(name, ()) for name in catalogs.external}
    if fields:
        table = crossmatch(table, catalogs.external, replace(options.crossmatch, fields=fields))
    names = _Names.of(what)
    columns = file_columns(table.columns, options, fields, names is not None)
    meta = arrange(table._meta, columns, names)
    return dd.map_partitions(arrange, table, columns, names, meta=meta, token="arrange", enforce_metadata=False)


def file_columns(
    present: Sequence[str], options: GenerationOptions, external: Mapping[str, Sequence[str]], named: bool
) -> list[str]:
    """Return the columns of a file in their order, of those that a table has, with position and name added."""
    have = {*present, GEOMETRY, *([NAME] if named else [])}
    order = [
        *_PLACE,
        *cesium_schema(options.cesium).names,
        *STATISTICS.names,
        *(f"{name}_{a}" for a in options.written for name in ("period", "significance", "pdot")),
        *(f"f1_{name}_{a}" for a in options.written for name in FOURIER),
        DMDT.name,
        *ALERT_STATISTICS.names,
        *external_schema(external).names,
    ]
    first = [name for name in order if name in have]
    return [*first, *(name for name in present if name not in first)]


class _Names:
    """Names of light curves, looked up for whole partitions."""

    def __init__(self, ids: np.ndarray, names: np.ndarray) -> None:
        self.ids, self.names = ids, names

    @classmethod
    def of(cls, what: Quadrant | SpecificIds) -> _Names | None:
        """Return the names that are given, or None."""
        if isinstance(what, Quadrant) or not what.names:
            return None
        ids = np.array(sorted(what.names), dtype=np.int64)
        return cls(ids, np.array([what.names[int(i)] for i in ids], dtype=object))

    def __dask_tokenize__(self) -> Any:
        from dask.base import normalize_token

        return "names", normalize_token((self.ids, self.names.tolist()))

    def __call__(self, ids: np.ndarray) -> pd.api.extensions.ExtensionArray:
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return pd.array(np.where(self.ids[place] == ids, self.names[place], np.nan), dtype=_TEXT)


def arrange(partition: pd.DataFrame, columns: list[str], names: _Names | None = None) -> pd.DataFrame:
    """Return a partition with the columns of the file, its history kept."""
    added: dict[str, Any] = {GEOMETRY: _geometry(partition["ra"], partition["dec"])}
    if names is not None:
        added[NAME] = names(partition["_id"].to_numpy())
    out = partition.assign(**added)[columns]
    out.attrs = dict(partition.attrs)
    return out


def _geometry(ra: pd.Series, dec: pd.Series) -> pd.Series:
    """Return positions as the database has them: (right ascension − 180, declination) in deg."""
    pairs = np.column_stack([ra.to_numpy(np.float64) - 180.0, dec.to_numpy(np.float64)])
    offsets = pa.array(np.arange(0, pairs.size + 1, 2, dtype=np.int32))
    lists = pa.ListArray.from_arrays(offsets, pa.array(pairs.ravel()))
    struct = pa.StructArray.from_arrays([lists], ["coordinates"])
    return pd.Series(pd.arrays.ArrowExtensionArray(struct), index=ra.index, dtype=_GEOMETRY_TYPE)
