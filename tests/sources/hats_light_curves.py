"""Light curves in the layout of ZTF's releases as HATS catalogues."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from irsa_files import irsa_table

SKY = ("objra", "objdec")
LISTS = ["hmjd", "mag", "magerr", "clrcoeff", "catflags"]
CENTRE = (180.0, 30.0)


def light_curves(sizes: Any, *, width: float = 3.0, **options: Any) -> pa.Table:
    """Return IRSA's columns with positions around a point, in one patch of the sky."""
    table = irsa_table(sizes, positions=pa.float64(), **options)
    rng = np.random.default_rng(9)
    for name, centre in zip(SKY, CENTRE, strict=True):
        column = pa.array(centre + rng.uniform(-width, width, len(table)))
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def nest(table: pa.Table, *, structs: bool = False, name: str = "lightcurve") -> pa.Table:
    """Put the lists into one nested column: a struct of lists or a list of structs."""
    lists = [table[c].combine_chunks() for c in LISTS]
    nested = pa.StructArray.from_arrays(lists, names=LISTS)
    if structs:
        inner = pa.StructArray.from_arrays([a.flatten() for a in lists], names=LISTS)
        nested = pa.ListArray.from_arrays(lists[0].offsets, inner)
    return table.drop_columns(LISTS).append_column(name, nested)


def by_id(frame: Any) -> pd.DataFrame:
    return frame.compute().sort_values("_id", ignore_index=True)
