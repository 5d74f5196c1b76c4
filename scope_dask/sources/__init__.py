"""Stage 1, sources: light curves from archives, lazily.

`read_archive` sets up a table of the light curves in Parquet files (IRSA's bulk files or our own archive) and
`write_archive` writes our own. Both are loaded from `scope_dask.sources.archive` on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scope_dask.sources.archive import TimePrecisionWarning, read_archive, slices_of, write_archive

__all__ = ["TimePrecisionWarning", "read_archive", "slices_of", "write_archive"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from scope_dask.sources import archive

    return getattr(archive, name)
