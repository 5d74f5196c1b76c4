"""A catalogue of the scores of many fields: one row a source, cut into tiles of the sky, queried in seconds."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from dask.tokenize import tokenize

from scope_dask._version import __version__
from scope_dask.crossmatch.sphere import Positions, Regions, unit_vectors
from scope_dask.errors import OptionError, SchemaError, SourceError, UsageError, nearest
from scope_dask.formats import common_schema, parts_folder, stream_parts, write_table
from scope_dask.formats.atomic import replacing
from scope_dask.formats.frames import to_frame
from scope_dask.formats.parquet import write_parquet
from scope_dask.predictions.sources import RADIUS_ARCSEC, STATISTICS, Statistic, consolidate, score_columns
from scope_dask.predictions.tiling import MARGIN_ARCSEC, Tiling, has_hats

logger = logging.getLogger(__name__)

INDEX_FILE = "_tiles.parquet"
MANIFEST = "run.json"
CUT_BYTES = 256 << 20  # of rows that wait to be written


@dataclass(frozen=True)
class Written:
    """What `write_catalog` made.

    Attributes
    ----------
    path : Path
    sources, tiles : int
    hats : bool
        Whether it is a HATS catalogue.
    without_position : int
        Light curves that were left out: they have no place on the sky.
    """

    path: Path
    sources: int
    tiles: int
    hats: bool
    without_position: int


def write_catalog(
    files: Sequence[str | os.PathLike[str]],
    path: str | os.PathLike[str],
    *,
    statistic: Statistic = "mean",
    radius_arcsec: float = RADIUS_ARCSEC,
    hats: bool | None = None,
    overwrite: bool = False,
) -> Written:
    """Write predictions of many fields as one catalogue of sources.

    Light curves of a source are brought together over filters, fields and kinds of models
    (`scope_dask.predictions.sources.source_numbers`). Files are cut into tiles, then each tile is consolidated: the
    memory is that of some tiles, whatever the number of fields. The tasks run where Dask computes; an interrupted call
    goes on.

    Parameters
    ----------
    files : sequence of path
        Parquet files of `run-inference`, of any number of fields and of both kinds of models, each light curve once a
        kind; or of `combine-preds`.
    path : path
        Folder of the catalogue; it is there whole or not at all.
    statistic : {"mean", "median", "max"}
        Of the scores of a source's light curves.
    radius_arcsec : float
        For light curves without an identifier, up to 5.
    hats : bool, optional
        Whether to write a HATS catalogue; by default if the extra ``catalog`` is installed.
    overwrite : bool

    Returns
    -------
    Written

    Raises
    ------
    OptionError, SourceError, SchemaError, UsageError
        If an option is wrong, a file cannot be used, or the folder is there.
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise UsageError(f"{target} is there already: choose another folder or overwrite it")
    if statistic not in STATISTICS:
        raise OptionError(f"statistic is {statistic!r}{nearest(statistic, STATISTICS)}; one of {', '.join(STATISTICS)}")
    if not 0 < radius_arcsec <= MARGIN_ARCSEC / 2:
        raise OptionError(f"radius_arcsec is {radius_arcsec}; expected above 0, {MARGIN_ARCSEC / 2:g} at most")
    inputs = [Path(file).resolve() for file in files]  # workers may be in another folder
    schema = _schema_of(inputs)
    tiling = Tiling(has_hats() if hats is None else hats)
    work = parts_folder(target.resolve())
    _prepare(work, str(tokenize(__version__, [_stamp(f) for f in inputs], statistic, radius_arcsec, tiling)))
    left_out = dask.compute(*(dask.delayed(_cut)(file, work / "cut", schema, tiling) for file in inputs))
    tiles = sorted({int(folder.name) for folder in (work / "cut").glob("*/*") if folder.name.isdecimal()})
    if not tiles:
        raise SourceError("no light curve has a position: there is nothing to write")
    make = dask.delayed(_make_tile)
    dask.compute(*(make(work, tile, tiling, statistic, radius_arcsec) for tile in tiles))
    return _finish(work, target, tiling, int(sum(left_out)))


def _stamp(file: Path) -> tuple[str, int, int]:
    stat = file.stat()
    return str(file.resolve()), stat.st_size, stat.st_mtime_ns


def _schema_of(inputs: Sequence[Path]) -> pa.Schema:
    """Return the schema that fits all files; scores are float32."""
    for file in inputs:
        if not file.is_file():
            raise SourceError(f"{file} does not exist; expected a Parquet file of predictions")
    schema = common_schema(inputs, {})
    if missing := [name for name in ("_id", "ra", "dec") if name not in schema.names]:
        raise SchemaError(f"the predictions have no column {missing[0]}: run-inference writes it")
    if not score_columns(schema.names):
        raise SchemaError("the predictions have no scores: expected columns that end in _dnn or _xgb")
    return schema


def _prepare(work: Path, fingerprint: str) -> None:
    """Make the folder of the work; what is in it of other files or options is deleted."""
    manifest = work / MANIFEST
    known = json.loads(manifest.read_text())["fingerprint"] if manifest.is_file() else None
    if known != fingerprint:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    with replacing(manifest) as temporary:
        temporary.write_text(json.dumps({"fingerprint": fingerprint}))


def _cut(file: Path, folder: Path, schema: pa.Schema, tiling: Tiling) -> int:
    """Cut a file into tiles, each with what is within the margin around it; return the rows without a position."""
    done = folder / tokenize(str(file.resolve()))
    count = done / "without_position"
    if count.is_file():
        return int(count.read_text())
    shutil.rmtree(done, ignore_errors=True)
    left_out = 0
    waiting = _Waiting(done)
    for table in stream_parts([file], schema):
        ra, dec = (table.column(name).to_numpy().astype(np.float64) for name in ("ra", "dec"))
        there = np.flatnonzero(np.isfinite(ra) & (np.abs(dec) <= 90.0))
        left_out += len(ra) - len(there)
        for tile, rows in tiling.tiles_near(ra[there], dec[there]):
            waiting.add(tile, table.take(pa.array(there[rows])))
        if waiting.nbytes > CUT_BYTES:
            waiting.flush()
    waiting.flush()
    done.mkdir(parents=True, exist_ok=True)
    with replacing(count) as temporary:
        temporary.write_text(str(left_out))
    return left_out


class _Waiting:
    """Rows by tile that wait to be written."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._tables, self._flushes, self.nbytes = folder, dict[int, list[pa.Table]](), 0, 0

    def add(self, tile: int, table: pa.Table) -> None:
        self._tables.setdefault(tile, []).append(table)
        self.nbytes += table.nbytes

    def flush(self) -> None:
        """Write a file a tile."""
        for tile, tables in self._tables.items():
            path = self._folder / str(tile) / f"part-{self._flushes:04d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.concat_tables(tables), path, compression="zstd")
        self._tables.clear()
        self._flushes, self.nbytes = self._flushes + 1, 0


def _make_tile(work: Path, tile: int, tiling: Tiling, statistic: Statistic, radius_arcsec: float) -> None:
    """Consolidate what is in and around a tile, and write the sources that lie in it."""
    record = work / "tiles" / f"{tile}.json"
    if record.is_file():
        return
    parts = sorted((work / "cut").glob(f"*/{tile}/*.parquet"))
    frame = pd.concat([to_frame(t) for t in stream_parts(parts, common_schema(parts))], ignore_index=True)
    sources = consolidate(frame, statistic, radius_arcsec)
    sources = sources[tiling.tile(sources["ra"].to_numpy(), sources["dec"].to_numpy()) == tile]
    content = {"rows": 0}
    if len(sources):
        write_parquet(tiling.ordered(sources), tiling.path(work / "catalog", tile), {"scope_code_version": __version__})
        content = _described(sources)
    record.parent.mkdir(parents=True, exist_ok=True)
    with replacing(record) as temporary:
        temporary.write_text(json.dumps(content))


def _described(sources: pd.DataFrame) -> dict[str, Any]:
    """Return where the sources of a tile lie, how many they are, and the largest score of each class."""
    vectors = unit_vectors(sources["ra"], sources["dec"])
    centre = vectors.mean(axis=0)
    centre /= np.linalg.norm(centre)
    radius = 2.0 * np.arcsin(np.clip(np.linalg.norm(vectors - centre, axis=1).max() / 2.0, 0.0, 1.0))
    largest = sources[score_columns([str(c) for c in sources.columns])].max()
    return {
        "rows": len(sources),
        **dict(zip("xyz", centre.tolist(), strict=True)),
        "radius": float(radius) + 1e-9,
        "dec_low": float(sources["dec"].min()),
        "dec_high": float(sources["dec"].max()),
        **{f"max_{name}": float(value) for name, value in largest.items()},
    }


def _finish(work: Path, target: Path, tiling: Tiling, left_out: int) -> Written:
    """Write the index of the tiles and put the catalogue in its place."""
    root = work / "catalog"
    found = {int(f.stem): json.loads(f.read_text()) for f in sorted((work / "tiles").glob("*.json"))}
    rows = [
        {"file": str(tiling.path(Path(), tile)), "tile": tile, **entry}
        for tile, entry in found.items()
        if entry["rows"]
    ]
    index = pd.DataFrame(rows).sort_values("tile", ignore_index=True)
    total = int(index["rows"].sum())
    write_table(index, root / INDEX_FILE, {"scope_code_version": __version__})
    final = work / target.name
    root.replace(final)
    tiling.finish(final, index["tile"].tolist(), total)
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    final.replace(target)
    shutil.rmtree(work)
    if left_out:
        logger.warning("%d light curves without a position are not in the catalogue", left_out)
    return Written(target, total, len(index), tiling.healpix, left_out)


def read_catalog(
    path: str | os.PathLike[str],
    cone: tuple[float, float, float] | None = None,
    classes: Mapping[str, float] | None = None,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Read the sources of a catalogue that lie in a cone and have high scores.

    Only the tiles are opened that the cone touches and that hold such a score.

    Parameters
    ----------
    path : path
        As `write_catalog` made it.
    cone : (float, float, float), optional
        Right ascension and declination of the centre (deg), radius (arcsec).
    classes : mapping of str to float, optional
        Column of a class to the least score; a source has all of them.
    columns : sequence of str, optional
        By default all.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    SourceError
        If there is no catalogue.
    SchemaError
        If it has no such column.
    OptionError
        If the cone is none.
    """
    root = Path(path)
    if not (root / INDEX_FILE).is_file():
        raise SourceError(f"{root} is no catalogue of predictions: it has no {INDEX_FILE} (write_catalog makes it)")
    index = to_frame(pq.read_table(root / INDEX_FILE))
    schema = pq.read_schema(root / index["file"][0])
    wanted = [name for name in schema.names if not name.startswith("_healpix")] if columns is None else list(columns)
    for name in (*wanted, *(classes or {})):
        if name not in schema.names:
            raise SchemaError(f"the catalogue has no column {name!r}{nearest(name, schema.names)}")
    keep = np.ones(len(index), bool)
    for name, least in (classes or {}).items():
        keep &= index[f"max_{name}"].to_numpy() >= np.float32(least)
    if cone is not None:
        keep &= _touched(index, cone)
    return _rows(root, index["file"][keep].tolist(), schema, wanted, cone, classes or {})


def _touched(index: pd.DataFrame, cone: tuple[float, float, float]) -> np.ndarray:
    """Tell which tiles a cone touches."""
    ra, dec, radius = cone
    if not (np.isfinite(ra) and abs(dec) <= 90 and radius > 0):
        raise OptionError(f"cone is {cone}; expected right ascension, declination (deg) and a radius above 0 (arcsec)")
    regions = Regions(index[list("xyz")].to_numpy(), *(index[n].to_numpy() for n in ("radius", "dec_low", "dec_high")))
    return Positions([ra], [dec]).near(regions, radius)


def _rows(
    root: Path,
    files: list[str],
    schema: pa.Schema,
    wanted: list[str],
    cone: tuple[float, float, float] | None,
    classes: Mapping[str, float],
) -> pd.DataFrame:
    """Read the rows of some tiles that fulfil the conditions."""
    condition: Any = None
    for name, least in classes.items():
        one = ds.field(name) >= pa.scalar(np.float32(least))
        condition = one if condition is None else condition & one
    sky = ["ra", "dec"] if cone is not None else []
    read = list(dict.fromkeys([*wanted, *sky]))
    dataset = ds.dataset([str(root / file) for file in files], schema=schema, format="parquet")
    frame = to_frame(dataset.to_table(columns=read, filter=condition))
    if cone is not None and len(frame):
        _, inside = Positions([cone[0]], [cone[1]]).pairs(Positions(frame["ra"], frame["dec"]), cone[2])
        frame = frame.iloc[np.sort(inside)].reset_index(drop=True)
    return frame[wanted]
