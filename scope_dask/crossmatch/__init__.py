"""Positions against catalogues: bright-star exclusion, cross-matches, alert statistics."""

from scope_dask.crossmatch.alerts import AlertOptions, alert_statistics
from scope_dask.crossmatch.bright_stars import BrightStarOptions, drop_close_bright_stars
from scope_dask.crossmatch.catalogs import Catalog, LocalCatalog
from scope_dask.crossmatch.external import CrossmatchOptions, crossmatch

__all__ = [
    "AlertOptions",
    "BrightStarOptions",
    "Catalog",
    "CrossmatchOptions",
    "LocalCatalog",
    "alert_statistics",
    "crossmatch",
    "drop_close_bright_stars",
]
