"""Predictions: scores of fields in files, combined, sampled, and as a catalogue of sources."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scope_dask.predictions.catalog import read_catalog, write_catalog

__all__ = ["read_catalog", "write_catalog"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("scope_dask.predictions.catalog"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
