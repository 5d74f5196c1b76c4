"""scope_dask: variable stars, classified lazily — sources → lightcurves → features → scores on Dask.

Importing the package loads nothing heavy; every name below loads its module on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from scope_dask._version import __version__

_HOME = {
    "FeatureOptions": "scope_dask.extraction.features",
    "LightCurveOptions": "scope_dask.conditioning.lightcurves",
    "PeriodOptions": "scope_dask.periods.options",
    "Pipeline": "scope_dask.pipeline",
    "SimulationOptions": "scope_dask.simulate",
    "features": "scope_dask.extraction.features",
    "lightcurves": "scope_dask.conditioning.lightcurves",
    "load_models": "scope_dask.inference.models",
    "periodogram": "scope_dask.periods.search",
    "read_archive": "scope_dask.sources.archive",
    "read_hats": "scope_dask.sources.hats",
    "read_kowalski": "scope_dask.sources.kowalski.reader",
    "read_rubin": "scope_dask.sources.rubin.reader",
    "scores": "scope_dask.inference.scores",
    "show_versions": "scope_dask.diagnostics",
    "simulate_sources": "scope_dask.simulate",
    "train": "scope_dask.training.fitting",
    "write": "scope_dask.writing",
    "write_archive": "scope_dask.sources.archive",
}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604

if TYPE_CHECKING:
    from scope_dask.conditioning.lightcurves import LightCurveOptions, lightcurves
    from scope_dask.diagnostics import show_versions
    from scope_dask.extraction.features import FeatureOptions, features
    from scope_dask.inference.models import load_models
    from scope_dask.inference.scores import scores
    from scope_dask.periods.options import PeriodOptions
    from scope_dask.periods.search import periodogram
    from scope_dask.pipeline import Pipeline
    from scope_dask.simulate import SimulationOptions, simulate_sources
    from scope_dask.sources.archive import read_archive, write_archive
    from scope_dask.sources.hats import read_hats
    from scope_dask.sources.kowalski.reader import read_kowalski
    from scope_dask.sources.rubin.reader import read_rubin
    from scope_dask.training.fitting import train
    from scope_dask.writing import write


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'scope_dask' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
