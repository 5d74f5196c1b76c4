"""Light curves from Kowalski as a lazy table."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd

from scope_dask import tally
from scope_dask.errors import OptionError
from scope_dask.schema import RAW_LIGHTCURVES
from scope_dask.sources.kowalski.client import Kowalski, of_tables
from scope_dask.sources.kowalski.errors import KowalskiAnswerError
from scope_dask.sources.kowalski.lightcurves import PointLimits, absent, fetch, limits_of
from scope_dask.sources.kowalski.options import PARTITION_ROWS, PROGRAM_IDS
from scope_dask.sources.kowalski.queries import found, id_array, place
from scope_dask.sources.kowalski.sources import quadrant_counts, sources_around
from scope_dask.sources.selection import Selection, as_ids


class Piece(NamedTuple):
    """One partition: the light curves `ids`, or `rows` of a quadrant, by id, after the first `skip`."""

    field: int
    ccd: int
    quad: int
    skip: int
    rows: int
    ids: np.ndarray | None


class Pieces(Sequence[Piece]):
    """All partitions of a table, kept in one array; named by what they hold.

    Attributes
    ----------
    table : numpy.ndarray, shape (n, 5), int64
        Field, CCD, quadrant, first row, rows; where there are ids, the rows are of these.
    ids : numpy.ndarray or None
        Sorted.
    """

    def __init__(self, table: np.ndarray, ids: np.ndarray | None = None) -> None:
        self.table = table
        self.ids = ids
        digest = hashlib.sha256(np.ascontiguousarray(table))
        digest.update(b"" if ids is None else np.ascontiguousarray(ids))
        self._token = f"{digest.hexdigest()}{'' if ids is None else ' of ids'}"

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        field, ccd, quad, skip, rows = self.table[i].tolist()
        ids = None if self.ids is None else self.ids[skip : skip + rows].copy()
        return Piece(field, ccd, quad, skip, rows, ids)

    def __repr__(self) -> str:
        return f"<{len(self)} partitions of {self.rows.sum()} light curves>"

    def __dask_tokenize__(self) -> str:
        return self._token

    @property
    def fields(self) -> np.ndarray:
        """Field of each partition, -1 where ids are asked for."""
        return np.where(self.table[:, 0] > 0, self.table[:, 0], -1)

    @property
    def rows(self) -> np.ndarray:
        """Light curves of each partition, before a selection among ids."""
        return self.table[:, 4]


def read_kowalski(
    kowalski: Kowalski | None = None,
    *,
    field: Any = None,
    ccd: Any = None,
    quad: Any = None,
    ids: Any = None,
    cone: tuple[float, float, float] | None = None,
    min_epochs: int = 0,
    max_timestamp_hjd: float | None = None,
    program_ids: Sequence[int] = PROGRAM_IDS,
    limit: int | None = None,
    catalog: str | None = None,
    partition_rows: int = PARTITION_ROWS,
) -> dd.DataFrame:
    """Return light curves of Kowalski as a lazy table.

    The light curves are asked for inside the tasks. Now the service is only asked how many sources the quadrants of
    each field have (one query a field), or for the ids in the cone (one query); with ids, nothing.

    Parameters
    ----------
    kowalski : Kowalski, optional
        By default the one of the ``config.yaml`` in the working folder and the environment.
    field, ccd, quad : int or list of int, optional
        Keep these ZTF fields, CCDs (1 to 16), quadrants (1 to 4).
    ids : array of int, optional
        Keep these light curves; an id that the catalogue does not have is set aside with that reason.
    cone : tuple of float, optional
        (right ascension in deg, declination in deg, radius in arcsec): keep what lies within.
    min_epochs : int
        Keep sources with as many epochs at least, whatever their flags; light curves named by `ids` are not asked.
    max_timestamp_hjd : float, optional
        Leave out points after this heliocentric Julian date (d); by default that of ``kowalski.options``.
    program_ids : sequence of int
        Keep points of these ZTF programmes: 1 public, 2 partnership, 3 Caltech.
    limit : int, optional
        Keep the first light curves only, by field, CCD and quadrant, then by id.
    catalog : str, optional
        Collection of sources; by default that of ``kowalski.options``.
    partition_rows : int
        Light curves of a partition.

    Returns
    -------
    dask.dataframe.DataFrame
        With the columns of ``schema.RAW_LIGHTCURVES``. A light curve without a point within the limits is there with
        empty lists. Partitions are slices of quadrants, in the order of the ids; where nothing matches there is one
        without rows.

    Raises
    ------
    OptionError
        If neither field, ids nor cone is given, or an option is of another type or out of its range.
    KowalskiError
        If the service does not answer as it should; in a task, the reason why the partition failed.

    Notes
    -----
    No more than ``kowalski.options.max_queries`` queries are under way at a time, in the whole cluster. What the table
    is called does not depend on instances, credentials and time limits, so that a run that is resumed with others
    computes only what is missing.
    """
    kowalski = Kowalski() if kowalski is None else kowalski
    if field is None and ids is None and cone is None:
        raise OptionError("light curves of Kowalski are asked for by field, ids or cone: give one of them")
    for name, value in (("partition_rows", partition_rows), ("limit", limit)):
        if value is not None and value < 1:
            raise OptionError(f"{name} is {value}, expected 1 or more")
    selection = Selection.of(field, ccd, quad, cone)
    catalog = catalog or kowalski.options.collections.sources
    limits = limits_of(kowalski, max_timestamp_hjd, program_ids)
    if ids is not None:
        pieces = _of_ids(as_ids(ids), limit, partition_rows)
    elif cone is not None:
        pieces = _of_ids(_in_cone(kowalski, selection, min_epochs, catalog), limit, partition_rows)
    else:
        counts = quadrant_counts(kowalski, field, ccd, quad, min_epochs=min_epochs, catalog=catalog)
        pieces = _of_quadrants(counts, limit, partition_rows)
    # What comes from a cone has been selected by the service; what comes by id is selected in the task.
    remaining = selection if ids is not None else Selection()
    with dask.config.set({"dataframe.convert-string": False}):
        return dd.from_map(
            read_piece,
            pieces,
            args=(of_tables(kowalski, catalog), catalog, min_epochs, limits, remaining),
            meta=RAW_LIGHTCURVES.empty(),
            label="read_kowalski",
        )


def read_piece(
    piece: Piece,
    kowalski: Kowalski,
    catalog: str,
    min_epochs: int,
    limits: PointLimits,
    selection: Selection,
    *,
    columns: Sequence[str],
) -> pd.DataFrame:
    """Fetch the light curves of a partition.

    Returns
    -------
    pandas.DataFrame
        `columns` of ``schema.RAW_LIGHTCURVES``, in the order of the ids, with the partition's history
        (`scope_dask.tally`).

    Raises
    ------
    KowalskiError
        If a query fails, or the catalogue has not as many sources as when the table was set up.
    """
    start = time.perf_counter()
    names = [name for name in RAW_LIGHTCURVES.names if name in {*columns, *selection.columns(None)}]
    ids = _slice(piece, kowalski, catalog, min_epochs) if piece.ids is None else piece.ids
    frame, missing = fetch(kowalski, ids, limits, catalog, names)
    if len(missing) and piece.ids is None:
        raise KowalskiAnswerError(f"{catalog}: {len(missing)} of {len(ids)} sources came without light curve")
    scalars = {name: frame[name].to_numpy() for name in selection.columns(None)}
    keep = selection.rows(scalars, None, len(frame))
    kept = frame if keep.all() else frame[keep].reset_index(drop=True)
    left = len(frame) - len(kept)
    entry = {
        "stage": "sources",
        "rows_in": len(ids),
        "rows_out": len(kept),
        "seconds": time.perf_counter() - start,
        "dropped": {k: n for k, n in (("outside the selection", left), ("not in the catalogue", len(missing))) if n},
        "set_aside": absent(missing, catalog),
    }
    return tally.put(kept[list(columns)].copy(deep=False), [entry])


def _slice(piece: Piece, kowalski: Kowalski, catalog: str, min_epochs: int) -> np.ndarray:
    """Return the ids of a slice of a quadrant."""
    if not piece.rows:
        return np.empty(0, np.int64)
    condition = place(Selection.of(piece.field, piece.ccd, piece.quad), min_epochs, catalog)
    page = found(kowalski, catalog, condition, {"_id": 1}, skip=piece.skip, limit=piece.rows)
    ids = id_array(page, catalog)
    if len(ids) != piece.rows or np.any(np.diff(ids) <= 0):
        raise KowalskiAnswerError(
            f"{catalog}: field {piece.field}, CCD {piece.ccd}, quadrant {piece.quad} has {len(np.unique(ids))} sources "
            f"after the first {piece.skip}, expected {piece.rows}: the catalogue has changed, set up the table again"
        )
    return ids


def _in_cone(kowalski: Kowalski, selection: Selection, min_epochs: int, catalog: str) -> np.ndarray:
    ra, dec, radius = selection.cone or (0.0, 0.0, 0.0)
    condition = place(selection, min_epochs, catalog)
    around = sources_around(kowalski, [ra], [dec], radius, condition=condition, catalog=catalog)
    return np.unique(around["_id"].to_numpy())


def _of_ids(ids: np.ndarray | None, limit: int | None, partition_rows: int) -> Pieces:
    wanted = np.empty(0, np.int64) if ids is None else ids[:limit]
    starts = np.arange(0, max(len(wanted), 1), partition_rows, dtype=np.int64)
    table = np.zeros((len(starts), 5), dtype=np.int64)
    table[:, 3], table[:, 4] = starts, np.minimum(partition_rows, len(wanted) - starts)
    return Pieces(table, wanted)


def _of_quadrants(counts: pd.DataFrame, limit: int | None, partition_rows: int) -> Pieces:
    rows: list[list[int]] = []
    left = counts["n"].sum() if limit is None else limit
    for field, ccd, quad, n in counts.itertuples(index=False):
        taken = min(n, left)
        left -= taken
        rows += [[field, ccd, quad, s, min(partition_rows, taken - s)] for s in range(0, taken, partition_rows)]
    return Pieces(np.array(rows or [[0] * 5], dtype=np.int64))
