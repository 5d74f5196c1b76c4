"""A stage: a pure function on one partition, the columns it needs and the columns it gives."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa

from scope_dask import tally
from scope_dask.errors import SchemaError
from scope_dask.schema import Schema, carried


@dataclass(frozen=True)
class Stage:
    """A pipeline stage.

    Attributes
    ----------
    name : str
        Shown in the dashboard and in every error.
    kernel : callable
        ``kernel(partition, options) -> partition``, importable from its module (so that it pickles by reference).
        It returns the identification columns of its input and the provided columns, and may use `tally.note`.
    requires : callable
        ``requires(options) -> Schema`` of the columns that the kernel reads; importable like the kernel.
    provides : callable
        ``provides(options) -> Schema`` of the columns that the kernel adds to the identification.
    """

    name: str
    kernel: Callable[[pd.DataFrame, Any], pd.DataFrame]
    requires: Callable[[Any], Schema]
    provides: Callable[[Any], Schema]

    def meta(self, meta: pd.DataFrame, options: Any) -> pd.DataFrame:
        """Return the table without rows that the stage makes of a table like `meta`."""
        self.requires(options).require(meta, f"stage {self.name!r}")
        table = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in self._dtypes(meta, options).items()})
        return as_cudf(table) if is_cudf(meta) else table

    def _dtypes(self, frame: pd.DataFrame, options: Any) -> dict[str, Any]:
        found = dict(frame.dtypes)
        return {**{name: found[name] for name in carried(frame)}, **self.provides(options).dtypes(like=frame)}

    def check_output(self, out: pd.DataFrame, partition: pd.DataFrame, options: Any) -> None:
        """Check that the kernel made of `partition` what the stage declares.

        Raises
        ------
        SchemaError
            If columns are missing, in another order or of another type.
        """
        found, expected = dict(out.dtypes), self._dtypes(partition, options)
        if list(found) != list(expected):
            raise SchemaError(f"stage {self.name!r} made the columns {list(found)}, declared are {list(expected)}")
        if is_cudf(out):  # its types have other names
            return
        wrong = [f"{c} is {found[c]}, declared {expected[c]}" for c in expected if found[c] != expected[c]]
        if wrong:
            raise SchemaError(f"stage {self.name!r} made other column types than it declares: {'; '.join(wrong)}")

    def __call__(self, frame: Any, options: Any) -> Any:
        """Apply the stage to a lazy table (nothing is computed) or to one partition.

        Raises
        ------
        SchemaError
            If the table lacks columns or has columns of the wrong type.
        """
        if isinstance(frame, pd.DataFrame) or is_cudf(frame):
            return run_kernel(frame, self, options)
        meta = self.meta(frame._meta, options)
        needed = list(dict.fromkeys([*carried(frame._meta), *self.requires(options).names]))
        return dd.map_partitions(
            run_kernel, frame[needed], self, options, meta=meta, token=self.name, enforce_metadata=False
        )


def is_cudf(frame: object) -> bool:
    """Tell whether `frame` is a cuDF object, without importing cuDF."""
    return type(frame).__module__.partition(".")[0] == "cudf"


def as_cudf(table: pd.DataFrame) -> Any:
    """Return a table without rows as cuDF's, which has no lists of fixed length."""
    import cudf

    fixed = {c: dtype for c, dtype in table.dtypes.items() if pa.types.is_fixed_size_list(_arrow_type(dtype))}
    return cudf.from_pandas(
        table.astype({c: pd.ArrowDtype(pa.list_(_arrow_type(d).value_type)) for c, d in fixed.items()})
    )


def _arrow_type(dtype: object) -> pa.DataType:
    return getattr(dtype, "pyarrow_dtype", pa.null())


def run_kernel(partition: pd.DataFrame, stage: Stage, options: Any) -> pd.DataFrame:
    """Run a stage on one partition, check what comes out, and add to the partition's history."""
    from distributed.metrics import context_meter  # loaded where something is computed, not where a graph is built

    stage.requires(options).require(partition, f"stage {stage.name!r}")
    past = tally.history(partition)
    plain = partition.copy(deep=False)
    plain.attrs = {}
    start = time.perf_counter()
    with context_meter.meter(stage.name):  # a share of its task, in the dashboard's fine performance metrics
        out = stage.kernel(plain, options)
    seconds = time.perf_counter() - start
    noted = tally.take(out) or {"dropped": {}, "set_aside": []}
    stage.check_output(out, partition, options)
    entry = {
        "stage": stage.name,
        "rows_in": len(partition),
        "rows_out": len(out),
        "seconds": seconds,
        **noted,
    }
    return tally.put(out, [*past, entry])
