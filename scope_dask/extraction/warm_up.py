"""Compiling every kernel before it is needed."""

from __future__ import annotations


def warm_up() -> None:
    """Compile every kernel of the pipeline, or load it from the cache shared by all workers.

    Cold this takes about a minute of one core, warm about a second. Without it each worker would compile for itself.
    """
    from scope_dask.conditioning.lightcurves import lightcurves
    from scope_dask.extraction.features import FeatureOptions, features
    from scope_dask.periods.options import NESTED, PeriodOptions
    from scope_dask.schema import ALGORITHMS
    from scope_dask.simulate import SimulationOptions, simulate_sources

    simulated = simulate_sources(SimulationOptions(n_light_curves=4, light_curves_per_partition=4))
    curves = lightcurves(simulated.get_partition(0).compute(scheduler="sync"), min_n_lc_points=4)
    every = tuple(name for name in ALGORITHMS if name not in NESTED)
    features(curves, FeatureOptions(periods=PeriodOptions(algorithms=every, max_freq=2.0), fourier="documented"))


if __name__ == "__main__":
    warm_up()
