"""ZTF-like fields with known truth: any number of light curves, lazy, each reproducible on its own."""

from __future__ import annotations

from scope_dask.simulate.options import SimulationOptions
from scope_dask.simulate.stars import CLASS_LABELS
from scope_dask.simulate.tables import SIMULATED, TRUTH, label_table, simulate_sources, truth

__all__ = [
    "CLASS_LABELS",
    "SIMULATED",
    "TRUTH",
    "SimulationOptions",
    "label_table",
    "simulate_sources",
    "truth",
]
