"""Compiling kernels before they are needed."""

from __future__ import annotations

from dataclasses import replace

from scope_dask.periods.options import NESTED, PeriodOptions
from scope_dask.schema import ALGORITHMS

EVERY = PeriodOptions(tuple(name for name in ALGORITHMS if name not in NESTED))


def warm_up(periods: PeriodOptions) -> None:
    """Compile the kernels of a pipeline with this period search, or load them from the cache shared by all workers.

    Cold this takes half a minute of one core (with `EVERY` algorithm a minute), warm about a second. Without it each
    worker would compile for itself.
    """
    from scope_dask.conditioning.lightcurves import lightcurves
    from scope_dask.extraction.features import FeatureOptions, features
    from scope_dask.simulate import SimulationOptions, simulate_sources

    simulated = simulate_sources(SimulationOptions(n_light_curves=4, light_curves_per_partition=4))
    curves = lightcurves(simulated.get_partition(0).compute(scheduler="sync"), min_n_lc_points=4)
    periods = replace(periods, max_freq=2.0, baseline_days=None)
    features(curves, FeatureOptions(periods, fourier="documented", device="cpu"))


if __name__ == "__main__":
    warm_up(EVERY)
