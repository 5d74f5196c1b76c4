"""Combining the predictions of neural networks and of XGBoost: one table, or one score a class."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from dask.tokenize import tokenize

from scope_dask._version import __version__
from scope_dask.errors import SchemaError, SourceError
from scope_dask.formats import common_schema, read_table, stream_parts, table_writer
from scope_dask.formats.atomic import replacing
from scope_dask.formats.frames import metadata_of, to_arrow, to_frame
from scope_dask.predictions.sources import ALGORITHMS, N_LIGHTCURVES, RADIUS_ARCSEC, consolidate, score_columns

Method = Literal["mean", "max"]
METHODS: tuple[Method, ...] = ("mean", "max")


@dataclass(frozen=True)
class CombineOptions:
    """How predictions are combined.

    Attributes
    ----------
    merge : bool
        One score a class: `method` of those of both kinds of models, in a column named after the class.
    method : {"mean", "max"}
    p_threshold : float
        Classes with a larger score are listed.
    per_source : bool
        One row a source; the scores of its light curves are averaged, or their largest taken, by `method`.
    radius_arcsec : float
        For light curves without an identifier; see `sources.source_numbers`.
    """

    merge: bool = False
    method: Method = "mean"
    p_threshold: float = 0.7
    per_source: bool = False
    radius_arcsec: float = RADIUS_ARCSEC


@dataclass(frozen=True)
class Combination:
    """The predictions of a field by kind of model, and where they go together.

    Attributes
    ----------
    name : str
        Of the field.
    inputs : mapping of str to list of Path
        Files of predictions by ``dnn`` and ``xgb``; one of them may have none.
    output : Path
    key : str
        Column by which rows are matched.
    """

    name: str
    inputs: Mapping[str, list[Path]]
    output: Path
    key: str = "_id"
    options: CombineOptions = field(default_factory=CombineOptions)

    @property
    def listed(self) -> Path:
        """The file with the classes above the threshold."""
        return self.output.with_name(f"{self.name}_meta.json")

    @property
    def fingerprint(self) -> str:
        files = {k: [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in own] for k, own in self.inputs.items()}
        return str(tokenize(__version__, files, self.key, self.options))

    @property
    def there(self) -> bool:
        """Whether the output is that of these inputs and options."""
        try:
            schema = pq.read_schema(self.output)
        except (OSError, pa.ArrowException):
            return False
        return bool(metadata_of(schema).get("combine_fingerprint") == self.fingerprint)


def combined(combination: Combination) -> Iterator[pd.DataFrame]:
    """Yield the combined predictions of a field, some thousand rows at a time.

    Rows are in the order of the first kind of model, then those that only the other one has. In memory are the scores
    of one kind of model; all of a field where it is consolidated by source.

    Raises
    ------
    SchemaError
        If a row is there twice, or there are no scores.
    SourceError
        If there are no files.
    """
    options = combination.options
    chunks = _joined(combination)
    if not options.per_source:
        yield from (_merged(chunk, options) for chunk in chunks)
        return
    whole = pd.concat(chunks, ignore_index=True)
    yield _merged(consolidate(whole, options.method, options.radius_arcsec), options)


def _joined(combination: Combination) -> Iterator[pd.DataFrame]:
    """Yield the rows of both kinds of models, matched by the key."""
    kinds = [kind for kind in ALGORITHMS if combination.inputs.get(kind)]
    if not kinds:
        raise SourceError(f"there are no predictions of {combination.name}: run-inference makes them")
    first, *others = kinds
    scores = {kind: _scores(combination, kind) for kind in others}
    used = {kind: np.zeros(len(frame), bool) for kind, frame in scores.items()}
    seen: list[np.ndarray] = []
    for chunk in _frames(combination.inputs[first]):
        seen.append(chunk[combination.key].to_numpy())
        for kind, frame in scores.items():
            place = frame.index.get_indexer(seen[-1])
            used[kind][place[place >= 0]] = True
            chunk = pd.concat([chunk, _taken(frame, place, chunk.index)], axis=1)  # noqa: PLW2901
        yield chunk
    _unique(pd.Index(np.concatenate(seen) if seen else []), combination, first)
    columns = chunk.columns
    for kind in others:
        for chunk in _frames(combination.inputs[kind]):
            rest = ~used[kind][scores[kind].index.get_indexer(chunk[combination.key])]
            if rest.any():
                yield chunk[rest].reindex(columns=columns)


def _frames(files: Sequence[Path]) -> Iterator[pd.DataFrame]:
    schema = common_schema(files)
    yield to_frame(schema.empty_table())
    yield from (to_frame(table) for table in stream_parts(files, schema))


def _scores(combination: Combination, kind: str) -> pd.DataFrame:
    """Return the scores of a kind of model by the key."""
    columns = [c for c in common_schema(combination.inputs[kind]).names if c in score_columns([c], [kind])]
    if not columns:
        raise SchemaError(f"{combination.inputs[kind][0]} has no scores: expected columns that end in _{kind}")
    wanted = [combination.key, *columns]
    frame = pd.concat([read_table(path, wanted) for path in combination.inputs[kind]], ignore_index=True)
    frame = frame.set_index(combination.key)
    _unique(frame.index, combination, kind)
    return frame


def _unique(keys: pd.Index, combination: Combination, kind: str) -> None:
    if keys.has_duplicates:
        twice = keys[keys.duplicated()][0]
        raise SchemaError(f"{combination.inputs[kind][0].parent} has {combination.key} {twice} more than once")


def _taken(frame: pd.DataFrame, place: np.ndarray, index: pd.Index) -> pd.DataFrame:
    """Return rows by their place, missing scores where it is −1."""
    values = frame.to_numpy(np.float32)
    taken = values[np.maximum(place, 0)] if len(values) else np.empty((len(place), values.shape[1]), np.float32)
    taken[place < 0] = np.nan
    return pd.DataFrame(taken, index=index, columns=frame.columns)


def _merged(frame: pd.DataFrame, options: CombineOptions) -> pd.DataFrame:
    """Return one score a class where that is asked for; a score that is missing does not count."""
    if not options.merge:
        return frame
    columns = score_columns([str(c) for c in frame.columns])
    tags = list(dict.fromkeys(name.rpartition("_")[0] for name in columns))
    found = frame.drop(columns=columns)
    both = {tag: frame[[c for c in columns if c.rpartition("_")[0] == tag]] for tag in tags}
    merged = {tag: getattr(own, options.method)(axis=1).astype(np.float32) for tag, own in both.items()}
    return pd.concat([found, pd.DataFrame(merged, index=frame.index)], axis=1)


def write_combination(combination: Combination, csv: bool = False) -> int:
    """Write the combined predictions of a field, and which classes are above the threshold; return the rows.

    The latter is JSON, ``{"<id>": {"<column>": <score>, …}, …}``, of the rows that have such a class.

    Raises
    ------
    SchemaError, SourceError
        As `combined`.
    """
    metadata = {
        **metadata_of(pq.read_schema(next(own for own in combination.inputs.values() if own)[0])),
        "scope_code_version": __version__,
        "combine_fingerprint": combination.fingerprint,
    }
    chunks = combined(combination)
    first = next(chunks)
    schema = to_arrow(first.iloc[:0], metadata).schema
    paths = [*([combination.output.with_suffix(".csv")] if csv else []), combination.output]
    rows = 0
    with ExitStack() as stack:
        writers = [stack.enter_context(table_writer(path, schema)) for path in paths]
        listed = stack.enter_context(_Listing(combination))
        for chunk in _chain(first, chunks):
            table = to_arrow(chunk, metadata).cast(schema)
            for writer in writers:
                writer.write(table)
            listed.add(chunk)
            rows += len(chunk)
    return rows


def _chain(first: pd.DataFrame, others: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    yield first
    yield from others


class _Listing:
    """The file with the classes above the threshold, in the making."""

    def __init__(self, combination: Combination) -> None:
        self._combination = combination
        self._stack = ExitStack()
        self._separator = "{"

    def __enter__(self) -> _Listing:
        path = self._stack.enter_context(replacing(self._combination.listed))
        self._file = self._stack.enter_context(path.open("w", encoding="utf-8"))
        return self

    def add(self, frame: pd.DataFrame) -> None:
        columns = _classes(frame, self._combination.options)
        values = frame[columns].to_numpy(np.float64)
        above = values > self._combination.options.p_threshold
        keys = frame["obj_id"] if self._combination.options.per_source else frame[self._combination.key]
        for row in np.flatnonzero(above.any(axis=1)):
            found = {columns[k]: round(values[row, k], 6) for k in np.flatnonzero(above[row])}
            self._file.write(f"{self._separator}\n{json.dumps(str(keys.iloc[row]))}: {json.dumps(found)}")
            self._separator = ","

    def __exit__(self, kind: type[BaseException] | None, *more: Any) -> None:
        if kind is None:
            self._file.write("\n}\n" if self._separator == "," else "{}\n")
        self._stack.__exit__(kind, *more)


def _classes(frame: pd.DataFrame, options: CombineOptions) -> list[str]:
    """Return the columns of scores: float32, and last."""
    if not options.merge:
        return score_columns([str(c) for c in frame.columns])
    return [str(c) for c, kind in frame.dtypes.items() if kind == np.float32 and c != N_LIGHTCURVES]
