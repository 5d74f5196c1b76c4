"""What a table's column is, and a set of columns that a table must have or will have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa

from scope_dask.errors import SchemaError, nearest

DMDT_SHAPE = (26, 26)

_ARROW = {
    "list<float64>": pa.list_(pa.float64()),
    "list<float32>": pa.list_(pa.float32()),
    "list<int32>": pa.list_(pa.int32()),
    "float32[676]": pa.list_(pa.float32(), DMDT_SHAPE[0] * DMDT_SHAPE[1]),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name : str
    dtype : str
        ``int64``, ``float64``, ``Int64`` (nullable), ``str``, ``list<float64>``, ``list<float32>``, ``list<int32>``,
        ``float32[676]``, or ``list<float>``: a list of either float type, kept as the source has it.
    unit : str
        Unit as astropy writes it; empty where there is none.
    meaning, formula, source : str
        What it is in one line, how it is computed, and the paper or convention behind the formula.
    departs : str
        Where the column departs from what that paper, or the field, means by the name.
    """

    name: str
    dtype: str
    unit: str = ""
    meaning: str = ""
    formula: str = ""
    source: str = ""
    departs: str = ""

    @property
    def pandas_dtype(self) -> object:
        """The dtype of the column in a pandas partition (``list<float>`` has none of its own: float64)."""
        dtype = "list<float64>" if self.dtype == "list<float>" else self.dtype
        if dtype in _ARROW:
            return pd.ArrowDtype(_ARROW[dtype])
        return pd.StringDtype(na_value=np.nan) if dtype == "str" else dtype

    def accepts(self, dtype: object) -> bool:
        """Tell whether a column of this pandas `dtype` can serve."""
        if "list" in self.dtype or "[" in self.dtype:
            arrow = getattr(dtype, "pyarrow_dtype", None)
            if arrow is None and hasattr(dtype, "to_arrow"):  # cuDF's
                arrow = dtype.to_arrow()
            if arrow is None or not hasattr(arrow, "value_type"):
                return False
            integer = self.dtype == "list<int32>"
            return pa.types.is_integer(arrow.value_type) if integer else pa.types.is_floating(arrow.value_type)
        if self.dtype == "str":
            return bool(pd.api.types.is_string_dtype(dtype))
        if self.dtype in ("int64", "Int64"):
            return bool(pd.api.types.is_integer_dtype(dtype))
        return bool(pd.api.types.is_numeric_dtype(dtype))


class Schema:
    """An ordered set of columns."""

    def __init__(self, columns: Iterable[Column]) -> None:
        self.columns = tuple(columns)

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, name: str) -> Column:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {c.name: c for c in self.columns}

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.columns]

    def without(self, *names: str) -> Schema:
        return Schema(c for c in self.columns if c.name not in names)

    def dtypes(self, like: pd.DataFrame | None = None) -> dict[str, object]:
        """Return the pandas dtype of every column; ``list<float>`` columns take the one they have in `like`."""
        found = {} if like is None else dict(like.dtypes)
        return {
            c.name: found[c.name] if c.dtype == "list<float>" and c.name in found else c.pandas_dtype
            for c in self.columns
        }

    def empty(self, like: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return a table without rows; for `like` see `dtypes`."""
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in self.dtypes(like).items()})

    def require(self, frame: pd.DataFrame, where: str) -> None:
        """Check that `frame` (a partition or the meta of a lazy table) has these columns.

        Raises
        ------
        SchemaError
            If columns are missing or have another dtype; the message names the stage, the columns and what to do.
        """
        have = [str(c) for c in frame.columns]
        missing = [c.name for c in self.columns if c.name not in frame.columns]
        if missing:
            hints = "".join(nearest(name, have) for name in missing[:1])
            raise SchemaError(
                f"{where} needs the column{'s' * (len(missing) > 1)} {', '.join(missing)}{hints}; "
                f"the table has {', '.join(have) or 'no columns'}: rename or add what is missing"
            )
        wrong = [
            f"{c.name} is {frame[c.name].dtype}, expected {c.dtype}"
            for c in self.columns
            if not c.accepts(frame[c.name].dtype)
        ]
        if wrong:
            raise SchemaError(f"{where} cannot use these column types: {'; '.join(wrong)}: cast them first")
