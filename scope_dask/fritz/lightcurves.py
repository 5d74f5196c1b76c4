"""Light curves of ZTF as photometry of Fritz."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scope_dask import ragged

FILTERS = {1: "ztfg", 2: "ztfr", 3: "ztfi"}
# Median 5σ limits of 30 s exposures (Bellm et al. 2019, PASP 131, 018002): the catalogue does not have those of each.
LIMITS = {"ztfg": 20.8, "ztfr": 20.6, "ztfi": 19.9}
_MJD_0 = 2400000.5
_AU_DAYS = 499.004783836 / 86400.0  # light travel time of an astronomical unit


def points_of(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the usable points of light curves as `put_photometry` takes them, by time.

    Parameters
    ----------
    curves : pandas.DataFrame
        Rows of ``schema.RAW_LIGHTCURVES``; points with flags, or without a finite magnitude and error, are left out.

    Returns
    -------
    pandas.DataFrame
        ``mjd`` (d, at the Earth: light curves have heliocentric times), ``hjd``, ``mag``, ``magerr``,
        ``limiting_mag``, ``filter``, ``ra``, ``dec`` (deg).
    """
    lists = [ragged.split(curves[name]) for name in ("hjd", "mag", "magerr", "catflags")]
    row = np.repeat(np.arange(len(curves)), np.diff(lists[0][1]))
    hjd, mag, magerr, flags = (values for values, _ in lists)
    keep = (flags == 0) & np.isfinite(hjd) & np.isfinite(mag) & np.isfinite(magerr) & (magerr > 0)
    ra, dec = (curves[name].to_numpy(np.float64)[row[keep]] for name in ("ra", "dec"))
    band = curves["filter"].map(FILTERS).to_numpy(dtype=object)[row[keep]]
    frame = pd.DataFrame({"mjd": earth_mjd(hjd[keep], ra, dec), "hjd": hjd[keep], "mag": mag[keep]})
    frame["magerr"], frame["limiting_mag"] = magerr[keep], pd.Series(band, dtype=object).map(LIMITS).astype(np.float64)
    frame["filter"], frame["ra"], frame["dec"] = band, ra, dec
    return frame.sort_values(["mjd", "filter"], kind="stable", ignore_index=True)


def earth_mjd(hjd: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Return the modified Julian dates at the Earth of heliocentric Julian dates (d), for positions in deg.

    The light travel time from the Earth to the Sun along the direction of the source, up to 8.3 min, is taken off;
    the Earth's own radius, 21 ms, is not looked at.
    """
    import erfa

    earth = np.atleast_2d(erfa.epv00(np.asarray(hjd, np.float64), 0.0)[0]["p"])  # heliocentric, au
    a, d = np.radians(ra), np.radians(dec)
    towards = np.column_stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    return hjd - _MJD_0 - (earth * towards).sum(axis=1) * _AU_DAYS
