"""Labelled feature tables in files: which columns are read, the labels of a class, and the star of each row."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from scope_dask.errors import SchemaError, SourceError, nearest
from scope_dask.formats import FORMATS, read_table, suffix_of
from scope_dask.schema import DMDT

IDS = ("_id", "ztf_id")
STARS = ("obj_id", "Gaia_EDR3___id", "AllWISE___id", "PS1_DR1___id")
VARIABLE, NON_VARIABLE = "variable", "non-variable"


def columns_of(path: str | Path) -> list[str]:
    """Return the names of the columns of a table in a file (or a folder of Parquet files).

    Raises
    ------
    OptionError, SourceError
        As `scope_dask.formats.read_table`.
    """
    path = Path(path)
    if not path.exists():
        raise SourceError(f"{path} does not exist; expected a labelled table that ends in {', '.join(FORMATS)}")
    if path.is_dir() or suffix_of(path) in (".parquet", ".pq"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return list(pq.ParquetDataset(path).schema.names)
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    if suffix_of(path) == ".csv":
        try:
            return list(pd.read_csv(path, comment="#", nrows=0).columns)
        except (OSError, ValueError) as error:
            raise SourceError(f"{path} cannot be read as CSV: {error}") from error
    return list(read_table(path).columns)


def label_column(columns: Iterable[str], label: str, tag: str) -> str:
    """Return the column with the labels of a class: that of its label, else that of its tag.

    Raises
    ------
    SchemaError
        If there is neither.
    """
    names = [str(name) for name in columns]
    if found := next((name for name in (label, tag) if name in names), None):
        return found
    raise SchemaError(f"the training set has no column {label!r} with the labels of {tag!r}{nearest(label, names)}")


def read_labelled(path: str | Path, features: Iterable[str], labels: Iterable[str], dmdt: bool) -> pd.DataFrame:
    """Read what a training needs of a labelled table: ids, features, labels, histograms and what tells stars apart.

    Parameters
    ----------
    path : path
        CSV, HDF5, Parquet, or a folder of Parquet files.
    features, labels : iterable of str
    dmdt : bool
        Whether histograms are needed.

    Returns
    -------
    pandas.DataFrame
        With ``_id``, which a column ``ztf_id`` stands for.

    Raises
    ------
    SourceError, OptionError, SchemaError
        If the file cannot be read, or has not these columns.
    """
    there = columns_of(path)
    own = next((name for name in IDS if name in there), None)
    if own is None:
        raise SchemaError(f"the training set {path} has neither a column {' nor '.join(IDS)}")
    labels = list(labels)
    optional = [name for name in (*STARS, *[NON_VARIABLE] * (VARIABLE in labels)) if name in there]
    wanted = [own, *features, *labels, *[DMDT.name] * dmdt]
    if missing := [name for name in wanted if name not in there]:
        raise SchemaError(
            f"the training set {path} lacks {', '.join(missing[:5])}{'…' * (len(missing) > 5)}"
            f"{nearest(missing[0], there)}: name other features, another --period-suffix or another training set"
        )
    frame = read_table(path, list(dict.fromkeys([*wanted, *optional])))
    return frame.rename(columns={own: "_id"})


def class_labels(frame: pd.DataFrame, label: str, threshold: float) -> pd.Series:
    """Return the labels of a class; NaN where nothing is known.

    Of the class ``variable`` a row is used that is variable or non-variable by the threshold, where the table has both.

    Parameters
    ----------
    frame : pandas.DataFrame
    label : str
        Column.
    threshold : float
    """
    values = _numbers(frame, label)
    if label != VARIABLE or NON_VARIABLE not in frame:
        return values
    known = (values > threshold) | (_numbers(frame, NON_VARIABLE) > threshold)
    return values.where(known)


def _numbers(frame: pd.DataFrame, label: str) -> pd.Series:
    try:
        return frame[label].astype("float64")
    except (TypeError, ValueError) as error:
        raise SchemaError(f"the labels {label!r} must be numbers between 0 and 1: {error}") from error


def stars(frame: pd.DataFrame) -> pd.Series | None:
    """Return the star of each row: its ``obj_id``, else its id in Gaia, AllWISE or PS1, else none.

    None where the table has none of these columns: then every light curve is a star of its own.
    """
    names = [name for name in STARS if name in frame]
    if not names:
        return None
    found = pd.Series(pd.NA, index=frame.index, dtype="string")
    for name in names:
        own = frame[name]
        known = own.notna() & (own.astype("string") != "0") & (own.astype("string") != "")
        found = found.fillna((f"{name} " + own.astype("string")).where(known))
    return pd.Series(found.astype(object).where(found.notna(), np.nan), index=frame.index)
