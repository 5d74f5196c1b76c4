"""Catalogues to match against: what one must answer, and catalogues in local Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import pyarrow as pa

from scope_dask.crossmatch.conditions import Condition, conditions_of
from scope_dask.crossmatch.parts import CatalogFiles, Part, catalog_files, read_part, regions_of
from scope_dask.crossmatch.sphere import Positions
from scope_dask.errors import SourceError, nearest

_INTEGER_IDS = ("_id", "source_id", "cntr", "objID", "objid")


@runtime_checkable
class Catalog(Protocol):
    """A catalogue of sources on the sky.

    Columns go by the names of Kowalski's collections: ``_id`` is the identifier whatever the catalogue calls it, and
    ``braai`` the score of an alert.
    """

    def require(self, columns: Sequence[str]) -> None:
        """Check that the catalogue has these columns; one that cannot tell beforehand does nothing.

        Raises
        ------
        SourceError
        """

    def near(
        self,
        ra: np.ndarray,
        dec: np.ndarray,
        radius_arcsec: float,
        columns: Sequence[str],
        below: Mapping[str, float] | None = None,
    ) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
        """Return the pairs of a position and a catalogue row that lie within the radius.

        Parameters
        ----------
        ra, dec : numpy.ndarray, shape (n,), float64
            Degrees, ICRS, finite.
        radius_arcsec : float
        columns : sequence of str
        below : mapping of str to float, optional
            Only rows whose values are less than these count.

        Returns
        -------
        i, j : numpy.ndarray, shape (m,), int64
            Pair k is the position ``i[k]`` and the row ``j[k]`` of the table; pairs are in any order.
        table : pandas.DataFrame
            ``ra``, ``dec`` (deg) and `columns` of the rows in pairs. What is missing is NaN or NA. Integers never pass
            through floats.
        """


@dataclass(frozen=True)
class LocalCatalog:
    """A catalogue in Parquet files: a file, a folder, a pattern, a list of them, or a HATS catalogue or collection.

    Only the row groups near the positions are read, of HATS only those of the pixels near them; what was read last is
    kept in memory for the next partition. Positions are taken as they stand: no proper motion is applied, as in SCoPe
    0.9.5.

    Parameters
    ----------
    path : path or list of paths
    names : mapping of str to str, optional
        Stored name of columns that are called otherwise here, such as ``{"ra": "raMean", "_id": "objID"}``. Without it,
        columns are looked for under their own names, ``_id`` also under ``source_id``, ``cntr`` and ``objID`` where
        these are integers, and the position where the properties of a HATS catalogue say it is.
    condition : mapping, optional
        What the rows must meet, such as ``{"parallax": {"$gt": 1}}``: comparisons as in Kowalski's language.

    Raises
    ------
    SourceError
        If there are no such files, they are not Parquet, or they have no positions or no column of the condition.
    OptionError
        If the condition has something else than comparisons.
    """

    path: Any
    names: Mapping[str, str] = field(default_factory=dict)
    condition: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = field(init=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", catalog_files(self.path).fingerprint)
        self.require([condition.column for condition in self._conditions()])

    @property
    def _files(self) -> CatalogFiles:
        return catalog_files(self.path, self.fingerprint)

    def require(self, columns: Sequence[str]) -> None:
        """Check that the catalogue has these columns; for errors see `Catalog`."""
        self._stored(["ra", "dec", *columns])

    def near(
        self,
        ra: np.ndarray,
        dec: np.ndarray,
        radius_arcsec: float,
        columns: Sequence[str],
        below: Mapping[str, float] | None = None,
    ) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
        """Return the pairs of a position and a catalogue row that lie within the radius; see `Catalog`."""
        conditions = self._conditions(below)
        stored = self._stored(list(dict.fromkeys(["ra", "dec", *columns, *(c.column for c in conditions)])))
        limits = tuple(condition._replace(column=stored[condition.column]) for condition in conditions)
        read = {name: stored[name] for name in columns if name not in ("ra", "dec")}
        none = np.empty(0, np.int64)
        pairs, tables, count = [(none, none)], [self._empty(read)], 0
        positions = Positions(ra, dec)
        for part in self._parts(positions, radius_arcsec, (stored["ra"], stored["dec"]), limits):
            i, j = positions.pairs(part.positions, radius_arcsec)
            if len(i):
                rows, j = _distinct(j, len(part.positions))
                pairs.append((i, count + j))
                tables.append(part.take(rows, read))
                count += len(rows)
        table = pa.concat_tables(tables, promote_options="permissive")
        # Nullable: an integer column with nulls would go through floats.
        frame = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}.get)
        return np.concatenate([i for i, _ in pairs]), np.concatenate([j for _, j in pairs]), frame

    def _conditions(self, below: Mapping[str, float] | None = None) -> tuple[Condition, ...]:
        limits = [Condition(name, "$lt", float(limit)) for name, limit in (below or {}).items()]
        return (*conditions_of(self.condition, str(self.path)), *limits)

    def _parts(
        self, positions: Positions, radius: float, sky: tuple[str, str], limits: tuple[Condition, ...]
    ) -> Iterator[Part]:
        if not len(positions):
            return
        for file in self._files.near(positions, radius):
            near = positions.near(regions_of(file, *sky), radius)
            yield from (read_part(file, int(group), sky, limits) for group in np.flatnonzero(near))

    def _empty(self, read: Mapping[str, str]) -> pa.Table:
        types = {"ra": pa.float64(), "dec": pa.float64()}
        types |= {name: self._files.schema.field(stored).type for name, stored in read.items()}
        return pa.schema(types).empty_table()

    def _stored(self, columns: Sequence[str]) -> dict[str, str]:
        """Return the stored name of each column."""
        schema = self._files.schema
        candidates = {name: self._candidates(name) for name in columns}
        found = {
            name: next((c for c in names if c in schema.names and _fits(name, c, schema)), None)
            for name, names in candidates.items()
        }
        missing = [name for name, stored in found.items() if stored is None]
        if missing:
            wanted = candidates[missing[0]]
            hint = nearest(wanted[0], schema.names)
            tried = f" ({missing[0]} was looked for as {', '.join(wanted)})" if list(wanted) != [missing[0]] else hint
            raise SourceError(
                f"the catalogue {self.path} has no column{'s' * (len(missing) > 1)} {', '.join(missing)}{tried}; "
                f"it has {_listed(schema.names)}: name the stored columns with names={{…}}, or leave the field out"
            )
        return {name: stored for name, stored in found.items() if stored is not None}

    def _candidates(self, name: str) -> Sequence[str]:
        if name in self.names:
            return (self.names[name],)
        if name in self._files.names:
            return (self._files.names[name],)
        return _INTEGER_IDS if name == "_id" else (name,)


def _distinct(values: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct numbers below `size`, sorted, and where among them each value is."""
    if len(values) < size // 64:
        return np.unique(values, return_inverse=True)
    used = np.zeros(size, bool)
    used[values] = True
    return np.flatnonzero(used), (np.cumsum(used) - 1)[values]


def _fits(name: str, stored: str, schema: pa.Schema) -> bool:
    return name != "_id" or stored == "_id" or pa.types.is_integer(schema.field(stored).type)


def _listed(names: Sequence[str], most: int = 40) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
