"""Forced fluxes to light curves: AB magnitudes, one light curve for each object and band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from scope_dask import ragged
from scope_dask.errors import OptionError, SourceError
from scope_dask.schema import ALL_FILTERS, RAW_LIGHTCURVES

BANDS = {name: code for code, name in ALL_FILTERS.items()}
_IDS_PER_OBJECT = 8
_LARGEST_OBJECT_ID = np.iinfo(np.int64).max // _IDS_PER_OBJECT - 1

JD_OF_MJD_ZERO = 2400000.5
AB_ZERO_POINT_NJY = 31.4
MAG_PER_RELATIVE_ERROR = 2.5 / np.log(10)

LOW_FLUX = 1 << 30
FLAGS = (
    "psfFlux_flag",
    "invalidPsfFlag",
    "pixelFlags_bad",
    "pixelFlags_crCenter",
    "pixelFlags_edge",
    "pixelFlags_interpolatedCenter",
    "pixelFlags_nodata",
    "pixelFlags_saturatedCenter",
    "pixelFlags_suspectCenter",
)
MOST_FLAGS = 30

Low = Literal["drop", "flag"]
MIN_SNR = 3.0
LOW: Low = "drop"
PARTITION_BYTES = "64 MiB"


@dataclass(frozen=True, slots=True)
class PhotometryRule:
    """What is done with fluxes that make no good magnitude.

    Attributes
    ----------
    min_snr : float
        A flux below this many times its error counts as low, and so does one that is not positive. The error of a
        magnitude is symmetric only for small relative errors; at 3 it is 0.36 mag.
    low : {"drop", "flag"}
        Leave low points out, or keep them with the bit `LOW_FLUX` set in `catflags`, NaN magnitudes where the flux is
        not positive.
    """

    min_snr: float = MIN_SNR
    low: Low = LOW

    def __post_init__(self) -> None:
        if not self.min_snr >= 0:
            raise OptionError(f"min_snr is {self.min_snr}, expected 0 or more")
        if self.low not in get_args(Low):
            raise OptionError(f"low is {self.low!r}, expected one of {', '.join(get_args(Low))}")


@dataclass(slots=True)
class Measurements:
    """Forced measurements, one an entry.

    Attributes
    ----------
    object_id, band, catflags : numpy.ndarray, shape (n,), int64
        `band` is the code of `BANDS`.
    mjd, flux, error : numpy.ndarray, shape (n,), float64
        Days; nJy.
    """

    object_id: np.ndarray
    band: np.ndarray
    mjd: np.ndarray
    flux: np.ndarray
    error: np.ndarray
    catflags: np.ndarray

    def __len__(self) -> int:
        return len(self.object_id)

    def take(self, keep: np.ndarray) -> Measurements:
        """Return some of them, by mask or position."""
        return Measurements(*(getattr(self, name)[keep] for name in self.__slots__))


def object_ids(ids: Any) -> np.ndarray:
    """Return the objectId of light curves by their ``_id``, which is ``8 objectId + filter``."""
    return np.asarray(ids, dtype=np.int64) // _IDS_PER_OBJECT


def curve_ids(object_id: np.ndarray, band: np.ndarray) -> np.ndarray:
    """Return ``8 objectId + filter``.

    Raises
    ------
    SourceError
        If that exceeds 64 bits.
    """
    if len(object_id) and not (object_id.min() >= 0 and object_id.max() <= _LARGEST_OBJECT_ID):
        raise SourceError(
            f"an objectId is {object_id.max()}, expected 0 to {_LARGEST_OBJECT_ID}: with a band it exceeds 64 bits"
        )
    return object_id * _IDS_PER_OBJECT + band


def magnitudes(flux: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (mag, magerr) of fluxes in nJy; NaN where a flux is not positive.

    AB magnitudes, m = 31.4 − 2.5 log10(f / nJy) (Oke & Gunn 1983; the zero point as Rubin's data previews have it),
    and to first order σ_m = 2.5 / ln 10 · σ_f / f = 1.0857 σ_f / f.
    """
    positive = np.where(flux > 0, flux, np.nan)
    return AB_ZERO_POINT_NJY - 2.5 * np.log10(positive), MAG_PER_RELATIVE_ERROR * error / positive


def apply_rule(points: Measurements, rule: PhotometryRule) -> tuple[Measurements, dict[str, int]]:
    """Return (the points that are kept, how many were low or without flux, by reason)."""
    counts = {}
    measured = np.isfinite(points.flux) & np.isfinite(points.error) & (points.error > 0) & np.isfinite(points.mjd)
    if not measured.all():
        counts["points without a time, flux or error"] = int((~measured).sum())
        points = points.take(measured)
    low = (points.flux <= 0) | (points.flux < rule.min_snr * points.error)
    if low.any() and rule.low == "drop":
        counts[f"points with a flux not above 0 or below {rule.min_snr:g} times its error"] = int(low.sum())
        points = points.take(~low)
    elif low.any():
        points.catflags = np.where(low, points.catflags | LOW_FLUX, points.catflags)
    return points, counts


def light_curves(points: Measurements, objects: pd.DataFrame) -> pd.DataFrame:
    """Group measurements into light curves, in the order of object, band and time.

    Parameters
    ----------
    points : Measurements
        Of objects that are all in `objects`.
    objects : pandas.DataFrame
        ``objectId`` (sorted, each once), ``ra``, ``dec`` (deg), ``tract``.

    Returns
    -------
    pandas.DataFrame
        The columns of ``schema.RAW_LIGHTCURVES``; `field` is the tract, `ccd` and `quad` are 0.
    """
    points = points.take(np.lexsort((points.mjd, points.band, points.object_id)))
    ids = curve_ids(points.object_id, points.band)
    starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]])) if len(ids) else np.empty(0, np.int64)
    offsets = np.concatenate([starts, [len(ids)]]).astype(np.int64)
    row = np.searchsorted(objects["objectId"].to_numpy(), points.object_id[starts])
    n = len(starts)
    frame = pd.DataFrame(
        {
            "_id": ids[starts],
            "ra": objects["ra"].to_numpy()[row],
            "dec": objects["dec"].to_numpy()[row],
            "field": objects["tract"].to_numpy()[row],
            "ccd": np.zeros(n, np.int64),
            "quad": np.zeros(n, np.int64),
            "filter": points.band[starts],
        }
    )
    mag, magerr = magnitudes(points.flux, points.error)
    lists = {"hjd": points.mjd + JD_OF_MJD_ZERO, "mag": mag, "magerr": magerr}
    for name, values in {**lists, "catflags": points.catflags.astype(np.int32)}.items():
        frame[name] = ragged.join(values, offsets)
    return frame[RAW_LIGHTCURVES.names]
