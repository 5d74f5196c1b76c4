"""Positions as unit vectors in a k-d tree: chords need no care at the poles or at right ascension 0."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from scope_dask.compiled import jit

ARCSEC_PER_RADIAN = 180.0 * 3600.0 / np.pi
_MANY = 16
_MARGIN = 1e-9  # radians: rounding of the trigonometry, for regions only


def unit_vectors(ra: ArrayLike, dec: ArrayLike) -> np.ndarray:
    """Return unit vectors, shape (n, 3), of right ascensions and declinations in degrees."""
    ra, dec = np.radians(np.asarray(ra, np.float64)), np.radians(np.asarray(dec, np.float64))
    return np.column_stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def chord(radius_arcsec: float) -> float:
    """Return the chord of an angle on the unit sphere, 2 sin(r/2)."""
    return 2.0 * float(np.sin(min(radius_arcsec / ARCSEC_PER_RADIAN, np.pi) / 2.0))


@jit()
def separation_arcsec(a: np.ndarray, i: np.ndarray, b: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return the angles in arcsec between the unit vectors ``a[i]`` and ``b[j]``, pair by pair.

    2 arcsin(chord/2): its rounding is about 1e-10 arcsec below 90 degrees, where arccos of the scalar product would be
    wrong by a thousandth of an arcsec for neighbours.

    Parameters
    ----------
    a, b : numpy.ndarray, shape (n, 3) and (m, 3), float64
    i, j : numpy.ndarray, shape (pairs,), int64
    """
    angles = np.empty(i.size)
    for k in range(i.size):
        p, q = i[k], j[k]
        x, y, z = a[p, 0] - b[q, 0], a[p, 1] - b[q, 1], a[p, 2] - b[q, 2]
        angles[k] = 2.0 * np.arcsin(min(0.5 * np.sqrt(x * x + y * y + z * z), 1.0)) * ARCSEC_PER_RADIAN
    return angles


def _angle(chords: np.ndarray) -> np.ndarray:
    return 2.0 * np.arcsin(np.clip(chords / 2.0, 0.0, 1.0))


@dataclass(frozen=True)
class Regions:
    """Where files or row groups lie: each within a cap and a range of declinations.

    Attributes
    ----------
    centres : numpy.ndarray, shape (m, 3)
        Unit vectors.
    radii : numpy.ndarray, shape (m,)
        Radians.
    dec_low, dec_high : numpy.ndarray, shape (m,)
        Degrees.
    """

    centres: np.ndarray
    radii: np.ndarray
    dec_low: np.ndarray
    dec_high: np.ndarray

    @classmethod
    def of_boxes(cls, ra: tuple[np.ndarray, np.ndarray], dec: tuple[np.ndarray, np.ndarray]) -> Regions:
        """Take the least and greatest right ascensions and declinations (deg); infinite where they are not known."""
        low, high = np.clip(dec[0], -90.0, 90.0), np.clip(dec[1], -90.0, 90.0)
        known = np.isfinite(ra[0]) & np.isfinite(ra[1]) & (ra[1] - ra[0] <= 180.0)
        west, east = np.where(known, ra[0], 0.0), np.where(known, ra[1], 0.0)
        centres = unit_vectors((west + east) / 2.0, (low + high) / 2.0)
        # The farthest point of a box up to 180 degrees wide is a corner: on a parallel the distance grows with the
        # right ascension, and on a meridian it has no maximum inside.
        corners = [np.linalg.norm(centres - unit_vectors(r, d), axis=1) for r in (west, east) for d in (low, high)]
        return cls(centres, np.where(known, _angle(np.max(corners, axis=0)), np.pi), low, high)

    @classmethod
    def of_outlines(cls, ra: np.ndarray, dec: np.ndarray, vertices: tuple[np.ndarray, np.ndarray]) -> Regions:
        """Take centres (deg) and the vertices, shape (m, k), of outlines whose sides bulge little (HEALPix pixels)."""
        centres = unit_vectors(ra, dec)
        corners = [
            np.linalg.norm(centres - unit_vectors(vertices[0][:, k], vertices[1][:, k]), axis=1)
            for k in range(vertices[0].shape[1])
        ]
        radii = 1.1 * _angle(np.max(corners, axis=0))
        dec = np.asarray(dec, np.float64)
        return cls(centres, radii, dec - np.degrees(radii), dec + np.degrees(radii))


class Positions:
    """A batch of positions.

    Parameters
    ----------
    ra, dec : array_like, shape (n,)
        Degrees, finite.
    """

    def __init__(self, ra: ArrayLike, dec: ArrayLike) -> None:
        self.vectors = unit_vectors(ra, dec)

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def tree(self) -> cKDTree:
        # Cells are split in the middle and not shrunk: built twice as fast as the default, and as fast to search.
        return cKDTree(self.vectors, leafsize=32, balanced_tree=False, compact_nodes=False)

    def near(self, regions: Regions, radius_arcsec: float) -> np.ndarray:
        """Tell, region by region, whether it may hold something within the radius of a position."""
        radius = radius_arcsec / ARCSEC_PER_RADIAN + _MARGIN
        x, y, z = self.vectors.T
        dec = np.sort(np.degrees(np.arctan2(z, np.hypot(x, y))))
        below = np.searchsorted(dec, regions.dec_low - np.degrees(radius), side="left")
        inside = np.searchsorted(dec, regions.dec_high + np.degrees(radius), side="right") > below
        distance, _ = self.tree.query(regions.centres)
        return np.asarray(inside & (_angle(distance) <= regions.radii + radius))

    def pairs(self, others: Positions, radius_arcsec: float) -> tuple[np.ndarray, np.ndarray]:
        """Return (i, j) of all pairs of a position here and one of `others` that lie within the radius."""
        limit = chord(radius_arcsec)
        if len(others) <= _MANY * len(self):
            found = self.tree.sparse_distance_matrix(others.tree, limit, output_type="ndarray")
            return found["i"].astype(np.int64), found["j"].astype(np.int64)
        # Walking both trees visits all of a tree that is much the larger one.
        tree, vectors = others.tree, self.vectors
        within = ((vectors >= tree.mins - limit) & (vectors <= tree.maxes + limit)).all(axis=1)
        some = np.flatnonzero(within)
        lists = tree.query_ball_point(vectors[some], limit, return_sorted=False)
        sizes = np.fromiter(map(len, lists), np.int64, len(lists))
        j = np.fromiter(itertools.chain.from_iterable(lists), np.int64, int(sizes.sum()))
        return np.repeat(some, sizes), j
