"""Where light curves and catalogues come from: Kowalski, or files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd

from scope_dask import ragged
from scope_dask.crossmatch import Catalog
from scope_dask.crossmatch.hats import is_hats
from scope_dask.crossmatch.sphere import Positions
from scope_dask.errors import OptionError
from scope_dask.generation.options import GenerationOptions, Quadrant, SpecificIds
from scope_dask.generation.timestamps import before
from scope_dask.schema import SOURCES
from scope_dask.sources.kowalski import Kowalski, read_kowalski, sources_around, sources_by_id
from scope_dask.sources.kowalski.reader import PARTITION_ROWS


@dataclass(frozen=True)
class Catalogs:
    """The catalogues to match against; one that is None, or not among the external ones, adds no columns.

    Attributes
    ----------
    gaia : Catalog or None
        Bright stars.
    alerts : Catalog or None
    external : mapping of str to Catalog
    """

    gaia: Catalog | None = None
    alerts: Catalog | None = None
    external: Mapping[str, Catalog] = field(default_factory=dict)


class Origin(Protocol):
    """What light curves come from."""

    @property
    def name(self) -> str:
        """Of the catalogue or archive."""

    def light_curves(self, what: Quadrant | SpecificIds, options: GenerationOptions) -> Any:
        """Return the lazy table of light curves, with the columns of ``schema.RAW_LIGHTCURVES``.

        Raises
        ------
        SourceError, OptionError
        """

    def around(self, ra: np.ndarray, dec: np.ndarray, radius_arcsec: float) -> pd.DataFrame:
        """Return the sources (columns of ``schema.SOURCES``) around positions, ``position`` before them.

        Raises
        ------
        SourceError
        """

    def by_id(self, ids: np.ndarray) -> pd.DataFrame:
        """Return the sources (columns of ``schema.SOURCES``) with these ids; those that are not there are missing.

        Raises
        ------
        SourceError
        """


@dataclass(frozen=True)
class KowalskiOrigin:
    """Light curves of a catalogue of Kowalski.

    Attributes
    ----------
    kowalski : Kowalski
    catalog : str
    partition_rows : int
        Light curves of a partition.
    """

    kowalski: Kowalski
    catalog: str
    partition_rows: int = PARTITION_ROWS

    @property
    def name(self) -> str:
        return self.catalog

    def light_curves(self, what: Quadrant | SpecificIds, options: GenerationOptions) -> Any:
        """Return the lazy table; the service is asked how many sources there are."""
        which: dict[str, Any]
        if isinstance(what, SpecificIds):
            which = {"ids": what.ids}
        else:
            points = options.lightcurves.min_n_lc_points
            which = {"field": what.field, "ccd": what.ccd, "quad": what.quad, "min_epochs": points}
        return read_kowalski(
            self.kowalski,
            **which,
            max_timestamp_hjd=options.max_timestamp_hjd,
            limit=options.first,
            catalog=self.catalog,
            partition_rows=self.partition_rows,
        )

    def around(self, ra: np.ndarray, dec: np.ndarray, radius_arcsec: float) -> pd.DataFrame:
        """Return the sources around positions."""
        return sources_around(self.kowalski, ra, dec, radius_arcsec, catalog=self.catalog)

    def by_id(self, ids: np.ndarray) -> pd.DataFrame:
        """Return the sources with these ids."""
        return sources_by_id(self.kowalski, ids, catalog=self.catalog)


@dataclass(frozen=True)
class ArchiveOrigin:
    """Light curves in files: Parquet in IRSA's layout or ours, or a HATS catalogue or collection.

    Attributes
    ----------
    path : str
    partition_bytes : int or str
        Bytes in memory that a partition may hold.
    """

    path: str
    partition_bytes: int | str = "8 MiB"

    @property
    def name(self) -> str:
        return self.path

    def light_curves(self, what: Quadrant | SpecificIds, options: GenerationOptions) -> Any:
        """Return the lazy table; the footers of the files are read, and with ``options.first`` their ids."""
        which = _selection(what)
        if options.first is not None:
            named = isinstance(what, SpecificIds)
            which["ids"] = self._first(which, options.first, 0 if named else options.lightcurves.min_n_lc_points)
        return before(self._read(**which), options.max_timestamp_hjd)

    def around(self, ra: np.ndarray, dec: np.ndarray, radius_arcsec: float) -> pd.DataFrame:
        """Return the sources around positions; a source near two of them is there twice, as of Kowalski."""
        ra, dec = np.asarray(ra, np.float64), np.asarray(dec, np.float64)
        sources = self._sources(near=(ra, dec, radius_arcsec))
        i, j = Positions(ra, dec).pairs(Positions(sources["ra"], sources["dec"]), radius_arcsec)
        found = sources.iloc[j].reset_index(drop=True)
        found.insert(0, "position", i)
        return found.sort_values(["position", "_id"], ignore_index=True)

    def by_id(self, ids: np.ndarray) -> pd.DataFrame:
        """Return the sources with these ids."""
        return self._sources(ids=ids).sort_values("_id", ignore_index=True)

    def quadrants(self, fields: Sequence[int] | None = None) -> list[Quadrant]:
        """Return the quadrants that have sources, sorted; by default those of all fields."""
        table = self._read(field=fields)[["field", "ccd", "quad"]]
        each = table.map_partitions(pd.DataFrame.drop_duplicates, meta=table._meta).compute()
        return [Quadrant(*map(int, key)) for key in sorted(set(each.itertuples(index=False, name=None)))]

    def _read(self, **which: Any) -> Any:
        if is_hats(self.path):
            from scope_dask.sources.hats import read_hats

            return read_hats(self.path, **which, partition_bytes=self.partition_bytes)
        from scope_dask.sources.archive import read_archive

        return read_archive(self.path, **which, partition_bytes=self.partition_bytes)

    def _sources(self, **which: Any) -> pd.DataFrame:
        return self._read(**which)[SOURCES.names].compute().reset_index(drop=True)

    def _first(self, which: Mapping[str, Any], most: int, min_epochs: int) -> np.ndarray:
        """Return the first ids of the sources with as many points at least, whatever their flags."""
        table = self._read(**which)[["_id", "hjd"]]
        enough = table.map_partitions(_with_points, min_epochs, meta=table._meta[["_id"]]).compute()
        return np.sort(enough["_id"].to_numpy())[:most]


def _selection(what: Quadrant | SpecificIds) -> dict[str, Any]:
    if isinstance(what, SpecificIds):
        return {"ids": what.ids}
    return {"field": what.field, "ccd": what.ccd, "quad": what.quad}


def _with_points(partition: pd.DataFrame, least: int) -> pd.DataFrame:
    return partition.loc[np.diff(ragged.split(partition["hjd"])[1]) >= least, ["_id"]]


def named_paths(entries: list[str]) -> dict[str, str]:
    """Return catalogue to path of entries ``NAME=PATH``.

    Raises
    ------
    OptionError
    """
    paths = {}
    for entry in entries:
        name, equals, path = entry.partition("=")
        if not (name and equals and path):
            raise OptionError(f"--catalog-path takes NAME=PATH, such as Gaia_EDR3=catalogs/gaia, found {entry!r}")
        paths[name] = os.path.expanduser(path)
    return paths
