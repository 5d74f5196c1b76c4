"""A labelled table that many processes share: written once as Arrow, then mapped into memory by whoever trains."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from scope_dask.errors import SchemaError
from scope_dask.formats.atomic import replacing
from scope_dask.formats.frames import to_frame
from scope_dask.inference.preparation import dmdt_values, feature_values
from scope_dask.schema import DMDT
from scope_dask.training.dataset import aligned, star_names, unique_ids

STAR = "star"
_DIGEST_ROWS = 65_536


def label_name(tag: str) -> str:
    """Return the column with the labels of a class."""
    return f"label {tag}"


@dataclass(frozen=True)
class MappedTable:
    """A table on disk whose pages all processes of a machine share.

    Attributes
    ----------
    path : Path
    digests : mapping
        By column, of its values in the order of ``_id``: equal ones are equal columns.
    """

    path: Path
    digests: Mapping[str, str]

    def read(self, columns: Iterable[str]) -> pd.DataFrame:
        """Return some columns without a copy; they are read-only."""
        with pa.memory_map(str(self.path)) as file:
            table = pa.ipc.open_file(file).read_all()
        return to_frame(table.select(list(columns)))


def write_mapped(
    features: pd.DataFrame, names: Iterable[str], dmdt: bool, labels: pd.DataFrame, groups: Any, folder: Path
) -> MappedTable:
    """Write what trainings need of a labelled table, in the order of ``_id``.

    Parameters
    ----------
    features : pandas.DataFrame
    names : iterable of str
        Features that a model sees.
    dmdt : bool
        Whether one sees the histograms.
    labels : pandas.DataFrame
        One column a class, matched by ``_id`` or by a common index.
    groups : array-like or None
        Star of each row, as `scope_dask.training.fitting.train` takes it.
    folder : Path
        Where all that train can read it.

    Raises
    ------
    SchemaError
        If an ``_id`` is there twice, labels do not match or are no numbers.
    """
    ids = unique_ids(features, "the training table")
    order = np.argsort(ids)
    stars = star_names(ids, groups)[order]
    digests = {"_id": _digest(ids[order]), STAR: _digest("\n".join(stars).encode())}
    arrays = {"_id": pa.array(ids[order]), STAR: pa.array(stars, pa.string())}
    for name in names:
        values = feature_values(features, [name])[order, 0]
        digests[name], arrays[name] = _digest(values), pa.array(values)
    for tag, column in aligned(labels, features).items():
        values = _numbers(str(tag), column)[order]
        digests[label_name(str(tag))], arrays[label_name(str(tag))] = _digest(values), pa.array(values)
    if dmdt:
        arrays[DMDT.name] = _sorted_images(features[DMDT.name], order)
        digests[DMDT.name] = _image_digest(arrays[DMDT.name])
    token = _digest(repr(sorted(digests.items())).encode())
    path = folder / f"table-{token[:16]}.arrow"
    if not path.is_file():
        table = pa.table(arrays)
        with replacing(path) as temporary, pa.ipc.new_file(str(temporary), table.schema) as writer:
            writer.write_table(table)
    return MappedTable(path.resolve(), digests)


def _numbers(tag: str, column: pd.Series) -> np.ndarray:
    try:
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise SchemaError(f"the labels of {tag!r} must be numbers between 0 and 1: {error}") from error


def _sorted_images(column: pd.Series, order: np.ndarray) -> pa.Array:
    from scope_dask.formats.nested import dmdt_array

    array = dmdt_array(pa.array(column.array))
    return array if (order[1:] > order[:-1]).all() else array.take(pa.array(order))


def _digest(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()


def _image_digest(array: pa.Array) -> str:
    """Return the digest of histograms; what stands in a missing one is of no account."""
    digest = hashlib.sha256()
    for start in range(0, len(array), _DIGEST_ROWS):
        chunk = pd.Series(pd.arrays.ArrowExtensionArray(array.slice(start, _DIGEST_ROWS)))
        values, there = dmdt_values(chunk)
        digest.update(there.tobytes())
        digest.update(np.where(there[:, None], values, np.float32(0.0)).tobytes())
    return digest.hexdigest()
