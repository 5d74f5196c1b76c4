"""Which light curves are asked for: by field, CCD, quadrant, id and cone; row groups first, then rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scope_dask.errors import OptionError

if TYPE_CHECKING:
    from scope_dask.crossmatch.sphere import Regions

_LIMITS = {"field": (0, 10**6), "ccd": (1, 16), "quad": (1, 4)}
_MARGIN = 1e-9  # deg: rounding of the trigonometry, for row groups only

Ranges = Mapping[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Near:
    """Positions to keep what lies around.

    Attributes
    ----------
    ra, dec : numpy.ndarray, shape (n,), float64
        Degrees, finite.
    radius : float
        Arcsec.
    """

    ra: np.ndarray
    dec: np.ndarray
    radius: float

    @classmethod
    def of(cls, near: Any) -> Near | None:
        """Check what the user asked for.

        Raises
        ------
        OptionError
            If these are not finite positions on the sphere, as many right ascensions as declinations, and a radius.
        """
        if near is None:
            return None
        try:
            ra, dec, radius = near
            ra, dec = (np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in (ra, dec))
            radius = float(radius)
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"near is {near!r}, expected (right ascensions in deg, declinations in deg, radius in arcsec)"
            ) from error
        if ra.shape != dec.shape or not (np.isfinite(ra).all() and (np.abs(dec) <= 90).all()):
            raise OptionError(
                f"near has {ra.size} right ascensions and {dec.size} declinations: expected as many of both, finite, "
                "declinations of -90 to 90 deg"
            )
        if not 0 <= radius <= 180 * 3600:
            raise OptionError(f"near has a radius of {radius}, expected 0 to 648000 arcsec")
        return cls(ra, dec, radius)

    def regions(self, regions: Regions) -> np.ndarray:
        """Tell which parts of the sky may hold something near one of the positions."""
        from scope_dask.crossmatch.sphere import Positions

        if not len(self.ra):
            return np.zeros(len(regions.radii), dtype=bool)
        return Positions(self.ra, self.dec).near(regions, self.radius)

    def rows(self, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        """Tell which positions (deg) lie within the radius of one of these."""
        from scope_dask.crossmatch.sphere import Positions, chord, unit_vectors

        keep = np.isfinite(ra) & np.isfinite(dec)
        if not len(self.ra) or not keep.any():
            return np.zeros(len(ra), dtype=bool)
        distance, _ = Positions(self.ra, self.dec).tree.query(unit_vectors(ra[keep], dec[keep]))
        keep[keep] = distance <= chord(self.radius)
        return keep


@dataclass(frozen=True)
class Selection:
    """What a slice keeps (ids aside: they travel with the slice that may hold them).

    Attributes
    ----------
    field, ccd, quad : tuple of int or None
        Values to keep, sorted.
    cone : tuple of float or None
        (right ascension in deg, declination in deg, radius in arcsec).
    near : Near or None
    """

    field: tuple[int, ...] | None = None
    ccd: tuple[int, ...] | None = None
    quad: tuple[int, ...] | None = None
    cone: tuple[float, float, float] | None = None
    near: Near | None = None

    @classmethod
    def of(cls, field: Any = None, ccd: Any = None, quad: Any = None, cone: Any = None, near: Any = None) -> Selection:
        """Check what the user asked for.

        Raises
        ------
        OptionError
            If a number is of another type or outside its range.
        """
        values = {"field": field, "ccd": ccd, "quad": quad}
        integers = {name: _integers(name, value) for name, value in values.items()}
        return cls(**integers, cone=_cone(cone), near=Near.of(near))

    def columns(self, ids: np.ndarray | None) -> list[str]:
        """Return the columns that deciding on a row needs."""
        names = [n for n in ("field", "ccd", "quad") if getattr(self, n) is not None]
        names += ["ra", "dec"] if self.cone is not None or self.near is not None else []
        return names + (["_id"] if ids is not None else [])

    def row_groups(self, ranges: Ranges, ids: np.ndarray | None, count: int) -> np.ndarray:
        """Tell of each row group whether it may hold a row that is kept, from least and greatest values."""
        keep = np.ones(count, dtype=bool)
        for name in ("field", "ccd", "quad"):
            values = getattr(self, name)
            if values is not None:
                keep &= _overlap(np.asarray(values, dtype=np.int64), *ranges[name])
        if ids is not None:
            keep &= _overlap(ids, *ranges["_id"])
        if self.cone is not None:
            keep &= _cone_overlap(self.cone, ranges["ra"], ranges["dec"])
        if self.near is not None:
            from scope_dask.crossmatch.sphere import Regions

            keep &= self.near.regions(Regions.of_boxes(ranges["ra"], ranges["dec"]))
        return keep

    def rows(self, scalars: Mapping[str, np.ndarray], ids: np.ndarray | None, count: int) -> np.ndarray:
        """Tell of each row whether it is kept."""
        keep = np.ones(count, dtype=bool)
        for name in ("field", "ccd", "quad"):
            if getattr(self, name) is not None:
                keep &= np.isin(scalars[name], getattr(self, name))
        if ids is not None:
            keep &= np.isin(scalars["_id"], ids)
        if self.cone is not None:
            keep &= in_cone(self.cone, scalars["ra"], scalars["dec"])
        if self.near is not None:
            keep &= self.near.rows(scalars["ra"], scalars["dec"])
        return keep


def in_cone(cone: tuple[float, float, float], ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Tell which positions (deg) lie within the radius of a cone, on the sphere.

    The chord between unit vectors is compared, 2 sin(r/2): exact for small radii, at RA 0 and at the poles.
    """
    ra0, dec0, radius = np.radians([cone[0], cone[1], cone[2] / 3600])
    ra, dec = np.radians(np.asarray(ra, dtype=np.float64)), np.radians(np.asarray(dec, dtype=np.float64))
    x = np.cos(dec) * np.cos(ra) - np.cos(dec0) * np.cos(ra0)
    y = np.cos(dec) * np.sin(ra) - np.cos(dec0) * np.sin(ra0)
    z = np.sin(dec) - np.sin(dec0)
    return x * x + y * y + z * z <= (2 * np.sin(radius / 2)) ** 2


def as_ids(ids: Any) -> np.ndarray | None:
    """Return the ids to keep, sorted, each once.

    Raises
    ------
    OptionError
        If they are not integers.
    """
    if ids is None:
        return None
    array = np.asarray(ids)
    if array.size and array.dtype.kind not in "iu":
        raise OptionError(f"ids are {array.dtype}, expected int64 (as floats, ids beyond 2**53 are not exact)")
    return np.unique(array.astype(np.int64).ravel())


def _integers(name: str, value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    array = np.atleast_1d(np.asarray(value))
    if array.size and array.dtype.kind not in "iu":
        raise OptionError(f"{name} is {value!r}, expected an integer or a list of integers")
    low, high = _LIMITS[name]
    outside = [int(v) for v in array if not low <= v <= high]
    if outside:
        raise OptionError(f"{name} is {outside[0]}, expected {low} to {high}")
    return tuple(int(v) for v in np.unique(array))


def _cone(cone: Any) -> tuple[float, float, float] | None:
    if cone is None:
        return None
    try:
        ra, dec, radius = (float(v) for v in cone)
    except (TypeError, ValueError) as error:
        raise OptionError(f"cone is {cone!r}, expected (ra in deg, dec in deg, radius in arcsec)") from error
    if not (np.isfinite(ra) and -90 <= dec <= 90 and 0 <= radius <= 180 * 3600):
        raise OptionError(
            f"cone is {cone!r}, expected a declination of -90 to 90 deg and a radius of 0 to 648000 arcsec"
        )
    return ra, dec, radius


def _overlap(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Tell which ranges [low, high] hold one of the sorted `values`."""
    return np.searchsorted(values, high, side="right") > np.searchsorted(values, low, side="left")


def _cone_overlap(
    cone: tuple[float, float, float], ra: tuple[np.ndarray, np.ndarray], dec: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Tell which boxes of right ascension and declination (deg) may touch a cone."""
    ra0, dec0, radius = cone[0], cone[1], cone[2] / 3600
    near = (dec[0] <= dec0 + radius + _MARGIN) & (dec[1] >= dec0 - radius - _MARGIN)
    if abs(dec0) + radius >= 90:  # the pole is inside: every right ascension
        return near
    # Widest right ascension of a cap: sin(half width) = sin(radius) / cos(dec0).
    half = np.degrees(np.arcsin(min(1.0, np.sin(np.radians(radius)) / np.cos(np.radians(dec0))))) + _MARGIN
    width = ra[1] - ra[0]
    start = np.where(np.isfinite(ra[0]), ra[0], 0.0)
    past = np.mod(ra0 - start, 360.0)
    return near & (~np.isfinite(width) | (past <= width + half) | (past >= 360.0 - half))
