"""Other catalogues around the positions of sources: Gaia, AllWISE, Pan-STARRS and the ZTF alerts.

Each function takes a batch of positions of any length, such as those of a partition, and asks for a thousand of them
in a query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scope_dask.crossmatch.schema import EXTERNAL_FIELDS
from scope_dask.sources.kowalski.client import Kowalski
from scope_dask.sources.kowalski.queries import GEOMETRY, Document, around_all
from scope_dask.sources.kowalski.sources import positions_of
from scope_dask.sources.kowalski.tables import column, value_of

EXTERNAL_FEATURES = EXTERNAL_FIELDS
"""The fields of each catalogue that become features."""

_BRAAI = "classifications.braai"


def nearest_matches(
    kowalski: Kowalski,
    ra: Any,
    dec: Any,
    radius_arcsec: float = 2.0,
    catalogs: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """Return the nearest object of each catalogue within a radius of each position.

    Parameters
    ----------
    kowalski : Kowalski
    ra, dec : array-like, shape (n,)
        Positions in deg.
    radius_arcsec : float
    catalogs : mapping of str to sequence of str, optional
        Catalogue to fields; by default `EXTERNAL_FEATURES`.

    Returns
    -------
    pandas.DataFrame, n rows
        Columns ``<catalogue>__<field>``, in the order of the positions: ids as nullable integers (never through
        float, whether the catalogue has them as numbers or as text), ``ph_qual`` as text, all others float64; NA or
        NaN where there is no object, or the object has no such field. Values stand as in the catalogue, such as
        −999 for a missing magnitude of Pan-STARRS.

    Raises
    ------
    OptionError, KowalskiError
    """
    columns: dict[str, Any] = {}
    for catalog, fields in (EXTERNAL_FEATURES if catalogs is None else catalogs).items():
        what = {"projection": {**dict.fromkeys(fields, 1), GEOMETRY: 1}}
        around = around_all(kowalski, "near", ra, dec, radius_arcsec, catalog, what, limit=1)
        first = [documents[0] if documents else None for documents in around]
        for field in fields:
            name = f"{catalog}__{field}"
            columns[name] = column(name, [value_of(document, field) for document in first])
    return pd.DataFrame(columns, index=pd.RangeIndex(np.size(ra)))


def neighbours(
    kowalski: Kowalski,
    ra: Any,
    dec: Any,
    radius_arcsec: float,
    catalog: str,
    fields: Sequence[str],
    condition: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Return every object of a catalogue within a radius of each position.

    Parameters
    ----------
    kowalski : Kowalski
    ra, dec : array-like, shape (n,)
        Positions in deg.
    radius_arcsec : float
    catalog : str
    fields : sequence of str
    condition : mapping, optional
        What the objects must meet besides, in the language of the database.

    Returns
    -------
    pandas.DataFrame
        ``position`` (which of the positions), ``ra``, ``dec`` (deg), ``separation`` (arcsec), then the fields; sorted
        by position and separation.

    Raises
    ------
    OptionError, KowalskiError
    """
    from astropy.coordinates import angular_separation

    what = {"filter": dict(condition or {}), "projection": {**dict.fromkeys(fields, 1), GEOMETRY: 1}}
    around = around_all(kowalski, "cone_search", ra, dec, radius_arcsec, catalog, what)
    flat: list[Document] = [document for documents in around for document in documents]
    position = np.repeat(np.arange(len(around)), [len(documents) for documents in around])
    lon, lat = positions_of(flat, catalog)
    centre = [np.radians(np.asarray(values, dtype=np.float64).ravel()[position]) for values in (ra, dec)]
    separation = np.degrees(angular_separation(*centre, np.radians(lon), np.radians(lat))) * 3600
    frame = pd.DataFrame({"position": position, "ra": lon, "dec": lat, "separation": separation})
    for field in fields:
        frame[field] = column(field, [value_of(document, field) for document in flat])
    return frame.sort_values(["position", "separation"], kind="stable", ignore_index=True)


def bright_stars(
    kowalski: Kowalski, ra: Any, dec: Any, radius_arcsec: float = 300.0, *, brighter_than: float = 13.0
) -> pd.DataFrame:
    """Return the Gaia stars brighter than a magnitude around each position, or around the centre of a quadrant.

    Returns
    -------
    pandas.DataFrame
        ``position``, ``ra``, ``dec``, ``separation`` as of `neighbours`, ``phot_g_mean_mag`` and ``bp_rp`` (mag).
    """
    bright = {"phot_g_mean_mag": {"$lt": float(brighter_than)}}
    fields = ("phot_g_mean_mag", "bp_rp")
    return neighbours(kowalski, ra, dec, radius_arcsec, kowalski.options.collections.gaia, fields, bright)


def alert_statistics(kowalski: Kowalski, ra: Any, dec: Any, radius_arcsec: float = 2.0) -> pd.DataFrame:
    """Return how many ZTF alerts there are around each position, and their mean real-bogus score.

    Returns
    -------
    pandas.DataFrame, one row a position
        ``n_ztf_alerts`` and ``mean_ztf_alert_braai`` (float64): the mean of the braai scores that are numbers, as of
        SCoPe 0.9.5 0.0 where there is no alert, and NaN where no alert has a score.
    """
    what = {"projection": {"_id": 0, _BRAAI: 1}}
    around = around_all(kowalski, "cone_search", ra, dec, radius_arcsec, kowalski.options.collections.alerts, what)
    number = np.array([len(documents) for documents in around], dtype=np.int64)
    flat = [value_of(document, _BRAAI) for documents in around for document in documents]
    score = column("braai", flat)
    row = np.repeat(np.arange(len(around)), number)
    finite = np.isfinite(score)
    total = np.bincount(row[finite], weights=score[finite], minlength=len(around))
    scored = np.bincount(row[finite], minlength=len(around))
    mean = np.where(number == 0, 0.0, np.divide(total, scored, out=np.full(len(around), np.nan), where=scored > 0))
    return pd.DataFrame({"n_ztf_alerts": number.astype(np.float64), "mean_ztf_alert_braai": mean})
