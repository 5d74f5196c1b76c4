"""Light curves of sources, cut to the points that may be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scope_dask import ragged, tally
from scope_dask.errors import OptionError
from scope_dask.schema import CATFLAGS, CURVES, RAW_LIGHTCURVES
from scope_dask.sources.kowalski.client import Kowalski
from scope_dask.sources.kowalski.errors import KowalskiAnswerError
from scope_dask.sources.kowalski.queries import Document, by_ids
from scope_dask.sources.kowalski.sources import SOURCE_FIELDS, source_frame, sources_around
from scope_dask.sources.selection import as_ids

_LISTS = {**dict.fromkeys(CURVES.names, np.float64), CATFLAGS.name: np.int32}


@dataclass(frozen=True, slots=True)
class PointLimits:
    """Which points of a light curve are taken.

    Attributes
    ----------
    max_hjd : float
        Last heliocentric Julian date (d), inclusive; times must also be above 0.
    program_ids : tuple of int
        ZTF programmes: 1 public, 2 partnership, 3 Caltech.
    """

    max_hjd: float = float("inf")
    program_ids: tuple[int, ...] = (1, 2, 3)

    def __post_init__(self) -> None:
        if not self.max_hjd > 0:
            raise OptionError(f"max_hjd is {self.max_hjd}, expected a Julian date above 0")
        if not self.program_ids:
            raise OptionError("program_ids is empty: name one programme at least")

    def keep(self, hjd: np.ndarray, programs: np.ndarray) -> np.ndarray:
        """Tell which points are taken; a time that is not a number is not."""
        return (hjd > 0) & (hjd <= self.max_hjd) & np.isin(programs, self.program_ids)


def lightcurves_by_id(
    kowalski: Kowalski, ids: Any, limits: PointLimits | None = None, *, catalog: str | None = None
) -> pd.DataFrame:
    """Return the light curves with these ids.

    Parameters
    ----------
    kowalski : Kowalski
    ids : array of int
    limits : PointLimits, optional
        By default those of ``kowalski.options``. The service is asked for whole light curves and the points are cut
        here: a condition on a list selects documents, not the elements of the list.
    catalog : str, optional
        Of sources.

    Returns
    -------
    pandas.DataFrame
        The columns of ``schema.RAW_LIGHTCURVES``, in the order of the ids, each once. A light curve without a point
        within the limits is there with empty lists. Ids that the catalogue does not have are set aside
        (`scope_dask.tally`).

    Raises
    ------
    KowalskiError
        If the service does not answer as it should.
    """
    wanted = as_ids(ids)
    catalog = catalog or kowalski.options.collections.sources
    limits = limits or PointLimits(kowalski.options.max_timestamp_hjd)
    frame, missing = fetch(kowalski, np.empty(0, np.int64) if wanted is None else wanted, limits, catalog)
    return tally.note(frame, set_aside=absent(missing, catalog))


def lightcurves_around(
    kowalski: Kowalski,
    ra: Any,
    dec: Any,
    radius_arcsec: float = 2.0,
    limits: PointLimits | None = None,
    *,
    most: int = 1000,
    catalog: str | None = None,
) -> pd.DataFrame:
    """Return the light curves around positions (deg): of each at most `most`, the nearest; columns as by id."""
    near = sources_around(kowalski, ra, dec, radius_arcsec, nearest_first=True, most=most, catalog=catalog)
    return lightcurves_by_id(kowalski, near["_id"].to_numpy(), limits, catalog=catalog)


def absent(ids: np.ndarray, catalog: str) -> list[tuple[int, str]]:
    """Return (_id, reason) of ids that a catalogue does not have."""
    return [(int(i), f"not in the catalogue {catalog}") for i in ids]


def fetch(
    kowalski: Kowalski,
    ids: np.ndarray,
    limits: PointLimits,
    catalog: str,
    columns: Sequence[str] = tuple(RAW_LIGHTCURVES.names),
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return (light curves with these sorted ids, the ids that the catalogue does not have).

    Lists are decoded query by query, so that the documents of one query at most are in memory.
    """
    lists = [name for name in columns if name in _LISTS]
    fields = dict(SOURCE_FIELDS)
    if lists:
        fields |= dict.fromkeys([f"data.{name}" for name in {*lists, "hjd", "programid"}], 1)
    frames, missing = [], [np.empty(0, np.int64)]
    values: dict[str, list[np.ndarray]] = {name: [np.empty(0, _LISTS[name])] for name in lists}
    sizes = [np.zeros(1, np.int64)]
    for asked, page in by_ids(kowalski, catalog, ids, fields, kowalski.options.query_rows):
        frames.append(source_frame(page, catalog))
        missing.append(np.setdiff1d(asked, frames[-1]["_id"].to_numpy(), assume_unique=True))
        if lists:
            cut, lengths = _points(page, lists, limits, catalog)
            sizes.append(lengths)
            for name in lists:
                values[name].append(cut[name])
    frame = pd.concat(frames, ignore_index=True) if frames else RAW_LIGHTCURVES.empty()
    offsets = np.cumsum(np.concatenate(sizes))
    for name in lists:
        frame[name] = ragged.join(np.concatenate(values.pop(name)), offsets, frame.index)
    return frame[list(columns)], np.concatenate(missing)


def _points(
    page: list[Document], names: list[str], limits: PointLimits, catalog: str
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return (the points within the limits, flat, how many each document has)."""
    points = [point for document in page for point in document.get("data") or ()]
    lengths = np.array([len(document.get("data") or ()) for document in page], dtype=np.int64)
    try:
        hjd = _column(points, "hjd", np.float64)
        keep = limits.keep(hjd, _column(points, "programid", np.int64))
        cut = {name: (hjd if name == "hjd" else _column(points, name, _LISTS[name]))[keep] for name in names}
    except (KeyError, TypeError, OverflowError) as error:
        raise KowalskiAnswerError(f"{catalog}: a point has no usable {error}: {_first_bad(page)}") from error
    row = np.repeat(np.arange(len(page)), lengths)
    return cut, np.bincount(row[keep], minlength=len(page)).astype(np.int64)


def _column(points: list[Document], name: str, dtype: Any) -> np.ndarray:
    return np.array([point[name] for point in points], dtype=dtype)


def _first_bad(page: list[Document]) -> str:
    return f"one of the light curves {page[0]['_id']} to {page[-1]['_id']}"


def limits_of(kowalski: Kowalski, max_timestamp_hjd: float | None, program_ids: Sequence[int]) -> PointLimits:
    """Return the limits that are asked for; without a last date, that of the options."""
    last = kowalski.options.max_timestamp_hjd if max_timestamp_hjd is None else max_timestamp_hjd
    return PointLimits(float(last), tuple(sorted({int(program) for program in program_ids})))
