"""Documents of any catalogue as tables whose column types do not depend on what is missing in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from scope_dask.sources.kowalski.errors import KowalskiAnswerError
from scope_dask.sources.kowalski.queries import Document

STRINGS = ("ph_qual", "objectId")
_PLACE = ("field", "ccd", "quad", "filter", "rc")
_OBJECTS = ("dmdt", "coordinates")


def column(name: str, values: Sequence[Any]) -> Any:
    """Return values of documents as a column, by name: what is missing is NA or NaN.

    Names with ``_id``, and field, ccd, quad, filter, rc, are nullable integers (exact, also from text); ``ph_qual``
    and ``objectId`` are text; ``dmdt`` and ``coordinates`` stay as they are; all others are float64.

    Raises
    ------
    KowalskiAnswerError
        If a value does not fit.
    """
    field = name.rpartition("__")[2] if not name.endswith("___id") else "_id"
    try:
        if field in _OBJECTS:
            return pd.Series(list(values), dtype=object).to_numpy()
        if field in STRINGS:
            return pd.array([None if v is None else str(v) for v in values], dtype=pd.StringDtype(na_value=np.nan))
        if "_id" in field or field in _PLACE:
            return _integers(values)
        return np.array([math.nan if v is None else v for v in values], dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise KowalskiAnswerError(f"{name} has a value of another type: {error}") from error


def _integers(values: Sequence[Any]) -> pd.arrays.IntegerArray:
    """Return integers, or texts of digits, as a nullable column, without passing through float."""
    missing = np.array([v is None or (isinstance(v, float) and math.isnan(v)) for v in values], dtype=bool)
    exact = [0 if gone else _integer(v) for v, gone in zip(values, missing, strict=True)]
    return pd.arrays.IntegerArray(np.array(exact, dtype=np.int64), missing)


def _integer(value: Any) -> int:
    if isinstance(value, float):  # a float that is a whole number is one that was stored as such
        if not value.is_integer() or abs(value) > 2**53:
            raise ValueError(f"{value!r} is no exact integer")
    elif not isinstance(value, int | str):
        raise TypeError(f"{value!r} is no integer")
    return int(value)


def value_of(document: Document | None, field: str) -> Any:
    """Return a field of a document, or None; ``a.b`` is the field b of a."""
    value: Any = document
    for key in field.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value
