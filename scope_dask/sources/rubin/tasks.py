"""Reading the light curves of a range of objects: the kernel of the sources stage for Rubin's tables."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from scope_dask import tally
from scope_dask.errors import SourceError
from scope_dask.sources.files import cached_metadata, check_unchanged, first_line, opened
from scope_dask.sources.rubin.photometry import (
    BANDS,
    Measurements,
    PhotometryRule,
    apply_rule,
    curve_ids,
    light_curves,
    object_ids,
)
from scope_dask.sources.rubin.ranges import Groups, Piece
from scope_dask.sources.selection import Selection

ID, RA, DEC, TRACT, VISIT, MJD = "objectId", "coord_ra", "coord_dec", "tract", "visit", "expMidptMJD"
FLUX, ERROR = "psfFlux", "psfFluxErr"
_BATCH_ROWS = 1 << 16
_EMPTY = Measurements(*(np.empty(0, dtype) for dtype in (np.int64, np.int64, *[np.float64] * 3, np.int64)))
_NO_VISIT, _NO_BAND = "points of a visit that is not in Visit", "points of an unknown band"


@dataclass(frozen=True)
class How:
    """What the tasks need to know."""

    visits: tuple[Groups, ...]
    selection: Selection
    bands: tuple[int, ...]
    flags: tuple[str, ...]
    rule: PhotometryRule


def read_range(piece: Piece, how: How, *, columns: Sequence[str]) -> pd.DataFrame:
    """Read the light curves of a range of objects.

    Returns
    -------
    pandas.DataFrame
        `columns` of ``schema.RAW_LIGHTCURVES``, by object, band and time, with the partition's history
        (`scope_dask.tally`): rows are light curves; of points that were left out, the reason says so.

    Raises
    ------
    SourceError
        If a file has changed or cannot be read.
    """
    start = time.perf_counter()
    objects = _objects(piece, how)
    points, dropped = _measurements(piece, how, objects["objectId"].to_numpy())
    seen = len(np.unique(curve_ids(points.object_id, points.band)))
    points, low = apply_rule(points, how.rule)
    frame = light_curves(points, objects)
    empty = {"light curves without a point left": seen - len(frame)} if seen > len(frame) else {}
    entry = {
        "stage": "sources",
        "rows_in": seen,
        "rows_out": len(frame),
        "seconds": time.perf_counter() - start,
        "dropped": {**dropped, **low, **empty},
        "set_aside": [],
    }
    return tally.put(frame[list(columns)].copy(deep=False), [entry])


def _objects(piece: Piece, how: How) -> pd.DataFrame:
    """Return the objects of a range that are asked for, by id, each once."""
    tables = list(_batches(piece.objects, [ID, RA, DEC], [TRACT], piece))
    table = pa.Table.from_batches(tables) if tables else pa.table({c: [] for c in (ID, RA, DEC)})
    n = len(table)
    tract = table[TRACT].to_numpy() if TRACT in table.column_names else np.zeros(n)
    frame = pd.DataFrame(
        {
            "objectId": table[ID].to_numpy().astype(np.int64),
            "ra": table[RA].to_numpy().astype(np.float64),
            "dec": table[DEC].to_numpy().astype(np.float64),
            "tract": tract.astype(np.int64),
        }
    )
    scalars = {"ra": frame["ra"].to_numpy(), "dec": frame["dec"].to_numpy(), "field": frame["tract"].to_numpy()}
    keep = how.selection.rows(scalars, None, n)
    if piece.ids is not None:
        keep &= np.isin(frame["objectId"], object_ids(piece.ids))
    return frame[keep].drop_duplicates("objectId").sort_values("objectId", ignore_index=True)


def _measurements(piece: Piece, how: How, objects: np.ndarray) -> tuple[Measurements, dict[str, int]]:
    """Return (the measurements of `objects` in the bands asked for, counts of those that cannot be used)."""
    visits = _visits(how.visits)
    parts = [_EMPTY]
    dropped = {_NO_VISIT: 0, _NO_BAND: 0}
    needed = [ID, VISIT, FLUX, ERROR, *how.flags]
    for whole in _batches(piece.measured, needed, ["band"], piece) if len(objects) else ():
        batch = whole.filter(pc.is_in(whole.column(ID), value_set=pa.array(objects)))
        points, known = _points(batch, visits, how.flags)
        dropped[_NO_VISIT] += int((~known).sum())
        dropped[_NO_BAND] += int((known & (points.band == 0)).sum())
        keep = known & np.isin(points.band, how.bands)
        if piece.ids is not None:
            keep &= np.isin(curve_ids(points.object_id, points.band), piece.ids)
        parts.append(points.take(keep))
    columns = (np.concatenate([getattr(part, name) for part in parts]) for name in Measurements.__slots__)
    return Measurements(*columns), {reason: n for reason, n in dropped.items() if n}


def _points(
    batch: pa.RecordBatch, visits: dict[str, np.ndarray], flags: Sequence[str]
) -> tuple[Measurements, np.ndarray]:
    """Return (the measurements of a batch, whether the visit of each is known)."""
    visit = batch.column(VISIT).to_numpy(zero_copy_only=False)
    row = np.minimum(np.searchsorted(visits["visit"], visit), len(visits["visit"]) - 1)
    catflags = np.zeros(len(batch), np.int64)
    for k, flag in enumerate(flags):
        catflags |= np.asarray(batch.column(flag).fill_null(True)).astype(np.int64) << k
    points = Measurements(
        object_id=batch.column(ID).to_numpy().astype(np.int64),
        band=_band_codes(batch.column("band")) if "band" in batch.schema.names else visits["band"][row],
        mjd=visits["mjd"][row],
        flux=batch.column(FLUX).to_numpy(zero_copy_only=False).astype(np.float64),
        error=batch.column(ERROR).to_numpy(zero_copy_only=False).astype(np.float64),
        catflags=catflags,
    )
    return points, visits["visit"][row] == visit


def _batches(
    files: Sequence[Groups], columns: Sequence[str], optional: Sequence[str], piece: Piece | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield rows, of a range of object ids only if there is one, of some row groups."""
    for path, fingerprint, groups in files:
        check_unchanged(path, fingerprint)
        try:
            with opened(path, cached_metadata(path, fingerprint)) as parquet:
                names = [*columns, *(c for c in optional if c in parquet.schema_arrow.names)]
                for batch in parquet.iter_batches(_BATCH_ROWS, row_groups=groups, columns=names, use_threads=False):
                    yield batch.select(names) if piece is None else _inside(batch.select(names), piece)
        except (OSError, pa.ArrowException) as error:
            raise SourceError(
                f"{path}: {', '.join(columns)} cannot be read ({first_line(error)}): fetch the file again"
            ) from error


def _inside(batch: pa.RecordBatch, piece: Piece) -> pa.RecordBatch:
    ids = batch.column(ID)
    return batch.filter(pc.and_(pc.greater_equal(ids, piece.low), pc.less_equal(ids, piece.high)))


@functools.lru_cache(maxsize=2)
def _visits(files: tuple[Groups, ...]) -> dict[str, np.ndarray]:
    """Return the visits by id: ``visit``, ``mjd``, ``band`` (code, 0: unknown); read once per worker."""
    table = pa.Table.from_batches(list(_batches(files, [VISIT, MJD], ["band"])))
    visit = table[VISIT].to_numpy()
    if not len(visit):
        raise SourceError(f"{files[0].path} holds no visit")
    order = np.argsort(visit, kind="stable")
    band = table["band"].combine_chunks() if "band" in table.column_names else pa.nulls(len(visit), pa.string())
    return {
        "visit": visit[order],
        "mjd": table[MJD].to_numpy().astype(np.float64)[order],
        "band": _band_codes(band)[order],
    }


def _band_codes(bands: pa.Array) -> np.ndarray:
    """Return the code of each band, 0 where there is none."""
    if pa.types.is_dictionary(bands.type):
        bands = bands.dictionary_decode()
    found = pc.index_in(bands.cast(pa.string()), value_set=pa.array(list(BANDS)))
    codes = np.array([0, *BANDS.values()], dtype=np.int64)
    return codes[found.fill_null(-1).to_numpy(zero_copy_only=False) + 1]
