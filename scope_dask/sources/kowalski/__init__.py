"""Kowalski, the database of ZTF light curves: sources, light curves, features, alerts and other catalogues.

`read_kowalski` sets up a lazy table of light curves; the other functions take a `Kowalski` and ask at once. Credentials
come from the environment (``KOWALSKI_INSTANCE_TOKEN``, ``GLORIA_…``, ``MELMAN_…``) or from ``kowalski: hosts:`` in the
user's ``config.yaml``. All of it is loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scope_dask.sources.kowalski.catalogs import (
        EXTERNAL_FEATURES,
        alert_statistics,
        bright_stars,
        nearest_matches,
        neighbours,
    )
    from scope_dask.sources.kowalski.client import Kowalski, disconnect
    from scope_dask.sources.kowalski.errors import (
        KowalskiAnswerError,
        KowalskiAuthError,
        KowalskiError,
        KowalskiQueryError,
        KowalskiTimeoutError,
        KowalskiUnavailableError,
    )
    from scope_dask.sources.kowalski.features import features_by_id, features_of
    from scope_dask.sources.kowalski.lightcurves import PointLimits, lightcurves_around, lightcurves_by_id
    from scope_dask.sources.kowalski.options import Collections, Instance, KowalskiOptions, kowalski_options
    from scope_dask.sources.kowalski.reader import read_kowalski
    from scope_dask.sources.kowalski.sources import (
        count_sources,
        quadrant_counts,
        source_ids,
        sources_around,
        sources_by_id,
        sources_of,
    )

_NAMES = {
    "catalogs": ("EXTERNAL_FEATURES", "alert_statistics", "bright_stars", "nearest_matches", "neighbours"),
    "client": ("Kowalski", "disconnect"),
    "errors": (
        "KowalskiAnswerError",
        "KowalskiAuthError",
        "KowalskiError",
        "KowalskiQueryError",
        "KowalskiTimeoutError",
        "KowalskiUnavailableError",
    ),
    "features": ("features_by_id", "features_of"),
    "lightcurves": ("PointLimits", "lightcurves_around", "lightcurves_by_id"),
    "options": ("Collections", "Instance", "KowalskiOptions", "kowalski_options"),
    "reader": ("read_kowalski",),
    "sources": ("count_sources", "quadrant_counts", "source_ids", "sources_around", "sources_by_id", "sources_of"),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "EXTERNAL_FEATURES",
    "Collections",
    "Instance",
    "Kowalski",
    "KowalskiAnswerError",
    "KowalskiAuthError",
    "KowalskiError",
    "KowalskiOptions",
    "KowalskiQueryError",
    "KowalskiTimeoutError",
    "KowalskiUnavailableError",
    "PointLimits",
    "alert_statistics",
    "bright_stars",
    "count_sources",
    "disconnect",
    "features_by_id",
    "features_of",
    "kowalski_options",
    "lightcurves_around",
    "lightcurves_by_id",
    "nearest_matches",
    "neighbours",
    "quadrant_counts",
    "read_kowalski",
    "source_ids",
    "sources_around",
    "sources_by_id",
    "sources_of",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
