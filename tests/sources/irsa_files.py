"""Small archives in IRSA's layout, in the dtypes of several releases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

RELEASES: dict[str, dict[str, Any]] = {
    "narrow": {
        "ints": (pa.int64(), pa.int8(), pa.int16(), pa.int8()),
        "times": pa.float64(),
        "flags": pa.uint16(),
    },
    "wide": {
        "ints": (pa.int64(),) * 4,
        "times": pa.float64(),
        "flags": pa.int64(),
        "mags": pa.float64(),
        "positions": pa.float64(),
        "lists": pa.large_list,
    },
    "unsigned": {
        "ints": (pa.uint64(), pa.uint8(), pa.uint16(), pa.uint8()),
        "flags": pa.int32(),
        "nullable": False,
    },
}


def irsa_table(
    sizes: Any,
    *,
    field: int = 300,
    rc: int = 5,
    first_id: int = 10**15,
    seed: int = 0,
    ints: tuple[Any, ...] = (pa.int64(), pa.int8(), pa.int16(), pa.int8()),
    times: Any = None,
    mags: Any = None,
    flags: Any = None,
    positions: Any = None,
    lists: Callable[[Any], Any] = pa.list_,
    nullable: bool = True,
) -> pa.Table:
    """Return light curves of these numbers of points, with values that any float type holds exactly."""
    rng = np.random.default_rng(seed)
    sizes = np.asarray(sizes, dtype=np.int64)
    n, points, ends = len(sizes), int(sizes.sum()), np.cumsum(sizes)

    def ragged(values: np.ndarray, dtype: Any) -> pa.Array:
        rows = [values[end - size : end] for end, size in zip(ends, sizes, strict=True)]
        return pa.array(rows, type=lists(dtype))

    position = positions or pa.float32()
    columns = {
        "objectid": pa.array(first_id + np.arange(n), type=ints[0]),
        "filterid": pa.array(np.full(n, 2), type=ints[1]),
        "fieldid": pa.array(np.full(n, field), type=ints[2]),
        "rcid": pa.array(np.full(n, rc), type=ints[3]),
        "objra": pa.array(rng.integers(0, 360 * 64, n) / 64, type=pa.float64()).cast(position),
        "objdec": pa.array(rng.integers(-90 * 64, 90 * 64, n) / 64, type=pa.float64()).cast(position),
        "nepochs": pa.array(sizes),
        "hmjd": ragged(58000 + rng.integers(0, 2000 * 256, points) / 256, times or pa.float64()),
        "mag": ragged(np.float32(rng.integers(14 * 1024, 21 * 1024, points) / 1024), mags or pa.float32()),
        "magerr": ragged(np.float32(rng.integers(1, 256, points) / 1024), mags or pa.float32()),
        "clrcoeff": ragged(np.zeros(points, np.float32), pa.float32()),
        "catflags": ragged(rng.choice([0, 0, 32768], points), flags or pa.uint16()),
    }
    schema = pa.schema([pa.field(k, v.type, nullable=nullable) for k, v in columns.items()])
    return pa.table(columns, schema=schema)


def blank_data(path: Path) -> None:
    """Overwrite every byte of a Parquet file but its footer."""
    data = bytearray(path.read_bytes())
    footer = int.from_bytes(data[-8:-4], "little") + 8
    data[4:-footer] = bytes(len(data) - footer - 4)
    path.write_bytes(data)
