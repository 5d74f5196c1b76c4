"""Compiling kernels before they are needed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scope_dask.periods.options import NESTED, PeriodOptions
from scope_dask.schema import ALGORITHMS

EVERY = PeriodOptions(tuple(name for name in ALGORITHMS if name not in NESTED))


def warm_up(periods: PeriodOptions) -> None:
    """Compile the kernels of a pipeline with this period search, or load them from the cache shared by all workers.

    Also those of the cross-matches and of scoring. Cold this takes half a minute of one core (with
    `EVERY` algorithm a minute), warm about a second. Without it each worker would compile for itself.
    """
    from scope_dask.conditioning.lightcurves import lightcurves
    from scope_dask.extraction.features import FeatureOptions, features
    from scope_dask.simulate import SimulationOptions, simulate_sources

    simulated = simulate_sources(SimulationOptions(n_light_curves=4, light_curves_per_partition=4))
    curves = lightcurves(simulated.get_partition(0).compute(scheduler="sync"), min_n_lc_points=4)
    periods = replace(periods, max_freq=2.0, baseline_days=None)
    features(curves, FeatureOptions(periods, fourier="documented", device="cpu"))
    _cross_match()
    _score()


def _cross_match() -> None:
    from scope_dask.crossmatch.sphere import separation_arcsec

    pole, first = np.array([[0.0, 0.0, 1.0]]), np.zeros(1, np.int64)
    separation_arcsec(pole, first, pole, first)


def _score() -> None:
    """Score a row with a network of zeros, and with one leaf: their size does not matter to the compiler."""
    from scope_dask.inference.dnn import network_score
    from scope_dask.inference.network import Network
    from scope_dask.inference.trees import Trees, trees_score

    def dense(a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((a, b), np.float32), np.zeros(b, np.float32)

    def convolution(a: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.zeros((3, 3, a), np.float32), *dense(a, 16)

    images = (convolution(1), convolution(16), convolution(16), convolution(16))
    network = Network((dense(1, 16), dense(16, 16)), images, (dense(32, 16), dense(16, 1)))
    row, leaf = np.zeros(1, np.int64), np.zeros(1, np.float32)
    network_score(network)(np.zeros((1, 1)), None, row)
    trees = Trees(np.array([0, 1]), row, row, leaf, leaf, leaf, depth=1, start=0.0)
    trees_score(trees)(np.zeros((1, 1)), None, row)


if __name__ == "__main__":
    warm_up(EVERY)
