"""Stage 1, sources: light curves from archives and surveys, lazily.

`read_archive` sets up a table of the light curves in Parquet files (IRSA's bulk files or our own archive, which
`write_archive` writes), `read_hats` of a HATS catalogue, `read_rubin` of Rubin's forced photometry and `read_kowalski`
of the database Kowalski. `read_list` reads ids or positions to select by; `to_nested` and `from_nested` convert nested
frames, and `map_catalog` runs stages inside an LSDB catalogue. Each is loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scope_dask.sources.archive import TimePrecisionWarning, read_archive, slices_of, write_archive
    from scope_dask.sources.hats import read_hats
    from scope_dask.sources.kowalski.reader import read_kowalski
    from scope_dask.sources.lists import SourceList, read_list
    from scope_dask.sources.nested import from_nested, map_catalog, to_nested
    from scope_dask.sources.rubin.reader import read_rubin

_HOME = {
    "SourceList": "lists",
    "TimePrecisionWarning": "archive",
    "from_nested": "nested",
    "map_catalog": "nested",
    "read_archive": "archive",
    "read_hats": "hats",
    "read_kowalski": "kowalski.reader",
    "read_list": "lists",
    "read_rubin": "rubin.reader",
    "slices_of": "archive",
    "to_nested": "nested",
    "write_archive": "archive",
}

__all__ = [
    "SourceList",
    "TimePrecisionWarning",
    "from_nested",
    "map_catalog",
    "read_archive",
    "read_hats",
    "read_kowalski",
    "read_list",
    "read_rubin",
    "slices_of",
    "to_nested",
    "write_archive",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
