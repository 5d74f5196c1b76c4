"""Lists of specific ids: Parquet, HDF5 or CSV with ``ztf_id``, or the JSON of sources downloaded for an event."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd

from scope_dask.crossmatch.external import exact_ids
from scope_dask.errors import SchemaError, SourceError
from scope_dask.formats import read_table
from scope_dask.generation.options import SpecificIds

ID_NAMES = ("ztf_id", "_id")
NAME_NAMES = ("fritz_name", "obj_id")


def read_specific_ids(path: str | os.PathLike[str]) -> SpecificIds:
    """Read the light curves that a file names.

    Parameters
    ----------
    path : path
        Parquet, HDF5 or CSV with a column ``ztf_id`` (or ``_id``) and perhaps one ``fritz_name`` (or ``obj_id``); or
        JSON, ids to objects with perhaps a ``fritz_name``. Positions in the file are not used: they come with the
        light curves.

    Returns
    -------
    SpecificIds
        Of an id that is there twice, the first name.

    Raises
    ------
    SourceError
        If the file is absent, cannot be read, or its ids are no integers.
    SchemaError
        If there is no column of ids.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        return _of_json(path)
    table = read_table(path)
    column = next((name for name in ID_NAMES if name in table), None)
    if column is None:
        raise SchemaError(f"{path} has no column {' or '.join(ID_NAMES)}; it has {', '.join(map(str, table.columns))}")
    ids = _ids(table[column], f"{path}: {column}")
    named = next((name for name in NAME_NAMES if name in table), None)
    names = [] if named is None else table[named].tolist()
    return specific_ids(ids, names)


def specific_ids(ids: np.ndarray, names: list[object]) -> SpecificIds:
    """Return ids, sorted and each once, with the names that go with them (none, or one for each)."""
    there: dict[int, str] = {}
    for number, name in zip(ids.tolist(), names, strict=False):
        if not pd.isna(name):
            there.setdefault(number, str(name))
    return SpecificIds(np.unique(ids), there)


def _ids(column: pd.Series, where: str) -> np.ndarray:
    exact = exact_ids(column, where)
    if exact.isna().any():
        raise SourceError(f"{where}: row {int(np.flatnonzero(exact.isna())[0]) + 1} has no id")
    return exact.to_numpy(dtype=np.int64)


def _of_json(path: Path) -> SpecificIds:
    try:
        content = json.loads(path.read_text())
        ids = np.array([int(key) for key in content], dtype=np.int64)
        names = [entry.get("fritz_name", np.nan) for entry in content.values()]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise SourceError(f"{path} cannot be read as JSON of ids to objects: {str(error).splitlines()[0]}") from None
    return specific_ids(ids, names)
