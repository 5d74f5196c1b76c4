"""A catalogue of Kowalski as the cross-matches take it, asked in as few cones as cover the positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scope_dask.crossmatch.sphere import ARCSEC_PER_RADIAN, Positions, unit_vectors
from scope_dask.sources.kowalski.catalogs import neighbours
from scope_dask.sources.kowalski.client import Kowalski, of_tables
from scope_dask.sources.kowalski.errors import KowalskiQueryError

_STORED = {"braai": "classifications.braai"}
_STEP = 1.25  # between the radii that are asked for: a query has one radius for all its cones
_MARGIN_ARCSEC = 1e-3  # the server's rounding and ours


class Cone(NamedTuple):
    """A cone that holds everything within the radius of the positions `rows`; in deg, `radius` in arcsec."""

    ra: float
    dec: float
    radius: float
    rows: np.ndarray


@dataclass(frozen=True)
class KowalskiCatalog:
    """A catalogue of Kowalski to match against (`scope_dask.crossmatch.Catalog`).

    Positions that lie together, such as those of a quadrant within the 300 arcsec of bright stars, or those of a star
    in several filters, are asked for in one cone, and its rows are assigned to them here.

    Parameters
    ----------
    kowalski : Kowalski
    name : str
        Of the collection.
    condition : mapping, optional
        What the rows must meet besides, in the language of the database.
    """

    kowalski: Kowalski
    name: str
    condition: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kowalski", of_tables(self.kowalski, self.name))

    def require(self, columns: Sequence[str]) -> None:
        """Check that an instance has the catalogue, as far as they were asked; documents have no fixed columns.

        Raises
        ------
        KowalskiQueryError
        """
        connections = self.kowalski.connections()
        if not any(connection.may_have((self.name,)) for connection in connections):
            there = sorted({name for connection in connections for name in connection.catalogs or ()})
            raise KowalskiQueryError(f"Kowalski has no catalogue {self.name}; it has {', '.join(there)}")

    def near(
        self,
        ra: np.ndarray,
        dec: np.ndarray,
        radius_arcsec: float,
        columns: Sequence[str],
        below: Mapping[str, float] | None = None,
    ) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
        """Return the pairs of a position and a catalogue row that lie within the radius; see `Catalog.near`.

        Raises
        ------
        KowalskiError
        """
        stored = {name: _STORED.get(name, name) for name in columns if name not in ("ra", "dec")}
        condition = dict(self.condition)
        condition |= {_STORED.get(name, name): {"$lt": float(limit)} for name, limit in (below or {}).items()}
        ra, dec = np.asarray(ra, np.float64), np.asarray(dec, np.float64)
        none = np.empty(0, np.int64)
        pairs, tables, count = [(none, none)], [self._ask([], radius_arcsec, stored, condition)], 0
        for radius, cones in _by_radius(covering(ra, dec, radius_arcsec), radius_arcsec):
            table = self._ask(cones, radius, stored, condition)
            pairs += [(i, count + j) for i, j in _pairs(cones, table, ra, dec, radius_arcsec)]
            tables.append(table)
            count += len(table)
        i, j = (np.concatenate([pair[k] for pair in pairs]) for k in (0, 1))
        rows, j = np.unique(j, return_inverse=True)
        everything = pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True)
        table = everything.iloc[rows].reset_index(drop=True)[["ra", "dec", *stored.values()]]
        return i, j.astype(np.int64), table.set_axis(["ra", "dec", *stored], axis=1)

    def _ask(
        self, cones: Sequence[Cone], radius: float, stored: Mapping[str, str], condition: Mapping[str, Any]
    ) -> pd.DataFrame:
        """Return the rows in cones of one radius, with the number of the cone as ``position``."""
        centres = ([cone.ra for cone in cones], [cone.dec for cone in cones])
        return neighbours(self.kowalski, *centres, radius, self.name, tuple(stored.values()), condition)


def covering(ra: np.ndarray, dec: np.ndarray, radius_arcsec: float) -> list[Cone]:
    """Return cones that together hold everything within the radius of the positions, each position in one of them.

    Positions share a cone where it is not larger than theirs together; else they are divided.

    Parameters
    ----------
    ra, dec : numpy.ndarray, shape (n,)
        Degrees.
    radius_arcsec : float
    """
    vectors = unit_vectors(ra, dec)
    waiting = [np.arange(len(vectors))] if len(vectors) else []
    cones = []
    while waiting:
        rows = waiting.pop()
        some = vectors[rows]
        x, y, z = some.mean(axis=0)
        centre = np.degrees([np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))])
        chords = np.linalg.norm(some - unit_vectors(centre[:1], centre[1:]), axis=1)
        spread = 2.0 * np.arcsin(min(chords.max() / 2.0, 1.0)) * ARCSEC_PER_RADIAN
        radius = radius_arcsec + spread + _MARGIN_ARCSEC
        if len(rows) == 1 or radius**2 <= len(rows) * radius_arcsec**2:
            cones.append(Cone(float(centre[0]) % 360.0, float(centre[1]), radius, rows))
        else:
            waiting += _halves(rows, some[:, np.argmax(np.ptp(some, axis=0))])
    return cones


def _halves(rows: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
    """Divide rows at the widest gap between their values that leaves at least a quarter on either side."""
    order = np.argsort(values, kind="stable")
    first, last = max(1, len(rows) // 4), len(rows) - len(rows) // 4
    cut = first + int(np.argmax(np.diff(values[order])[first - 1 : last]))
    return [rows[order[:cut]], rows[order[cut:]]]


def _by_radius(cones: Sequence[Cone], smallest: float) -> Iterator[tuple[float, list[Cone]]]:
    """Yield (radius to ask for, cones not larger than that and not much smaller)."""
    steps = np.ceil(np.log([(c.radius - _MARGIN_ARCSEC) / smallest for c in cones]) / np.log(_STEP) - 1e-9)
    for step in np.unique(steps):
        yield smallest * _STEP**step + _MARGIN_ARCSEC, [c for c, own in zip(cones, steps, strict=True) if own == step]


def _pairs(
    cones: Sequence[Cone], table: pd.DataFrame, ra: np.ndarray, dec: np.ndarray, radius_arcsec: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (position, row of the table) of what lies within the radius, cone by cone."""
    lon, lat = table["ra"].to_numpy(), table["dec"].to_numpy()
    bounds = np.searchsorted(table["position"], np.arange(len(cones) + 1))
    for cone, first, last in zip(cones, bounds[:-1], bounds[1:], strict=True):
        if last > first:
            there = Positions(lon[first:last], lat[first:last])
            i, j = Positions(ra[cone.rows], dec[cone.rows]).pairs(there, radius_arcsec)
            yield cone.rows[i], first + j
