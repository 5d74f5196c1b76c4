"""dmdt against the reference file and numpy.histogram2d, bit for bit."""

from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from scope_dask.extraction.dmdt import DM_EDGES, DT_EDGES, dmdt
from scope_dask.ragged import LightCurves

Curve = tuple[np.ndarray, np.ndarray]


def run(curves: list[Curve], dtype: type = np.float64) -> np.ndarray:
    c = LightCurves.from_lists([(t, m, m) for t, m in curves])
    return dmdt(c.hjd, c.mag, c.offsets, dtype)


def brute_force(t: np.ndarray, m: np.ndarray) -> np.ndarray:
    order = np.argsort(t, kind="stable")
    i, j = np.triu_indices(len(t), 1)
    dt, dm = (x[order][j] - x[order][i] for x in (t, m))
    counts = np.histogram2d(dm, dt, bins=(DM_EDGES, DT_EDGES))[0].ravel()
    return counts / (np.linalg.norm(counts) or 1.0)


def simulated(n: int, seed: int = 1) -> Curve:
    rng = np.random.default_rng(seed)
    return 2458200.5 + np.sort(rng.uniform(0, 2500, n)), 17 + rng.standard_t(2, n)


def test_parity_with_the_reference(shared_data: Path) -> None:
    table = pd.read_parquet(shared_data / "parity" / "reference_features.parquet")
    curves = list(zip(table["t"], table["m"], strict=True))
    found = run(curves)
    usable = ~table["kind"].isin(["edge_n1", "edge_n2", "edge_n3", "edge_nanmag"]).to_numpy()
    expected = np.stack(table["dmdt"][usable])
    np.testing.assert_array_equal(found[usable], expected)
    assert np.isnan(found[~usable]).all()
    single = run(curves, np.float32)
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single[usable], expected.astype(np.float32))


@settings(deadline=None, max_examples=100)
@given(
    n=st.integers(4, 80),
    days=st.sampled_from([0.1, 10.0, 700.0, 4000.0]),
    mags=st.sampled_from([0.0, 0.05, 1.0, 9.0, 1e5]),
    decimals=st.sampled_from([2, 15]),
    start=st.sampled_from([0.0, 2458200.5]),
    seed=st.integers(0, 2**32 - 1),
)
def test_brute_force(n: int, days: float, mags: float, decimals: int, start: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    t = start + np.round(rng.uniform(0, days, n), decimals)
    m = np.round(rng.normal(0, mags, n), decimals)
    np.testing.assert_array_equal(run([(t, m)])[0], brute_force(t, m))


@pytest.mark.parametrize("edge", np.unique(np.abs(DM_EDGES)))
def test_magnitude_differences_around_the_edges(edge: float) -> None:
    m = np.array([0.0, edge, np.nextafter(edge, np.inf), np.nextafter(edge, -np.inf), -edge])
    for sign in (1, -1):
        t = np.arange(5.0)
        np.testing.assert_array_equal(run([(t, sign * m)])[0], brute_force(t, sign * m))


@pytest.mark.parametrize("edge", DT_EDGES[1:])
def test_time_differences_around_the_edges(edge: float) -> None:
    t = np.array([0.0, np.nextafter(edge, -np.inf), edge, np.nextafter(edge, np.inf), 1e4])
    m = np.arange(5) * 0.02
    np.testing.assert_array_equal(run([(t, m)])[0], brute_force(t, m))


def test_rows_are_magnitude_and_columns_are_time() -> None:
    t = np.array([0.0, 0.05, 5000.0, 50000.0])
    found = run([(t, np.array([17.0, 17.25, 30.0, 60.0]))])[0].reshape(26, 26)
    assert np.argwhere(found).tolist() == [[16, 2]]
    assert found[16, 2] == 1
    assert DM_EDGES[16] <= 0.25 < DM_EDGES[17]


def test_no_pair_in_range_is_zero() -> None:
    t = 1e5 * np.arange(6)
    assert not run([(t, np.zeros(6))]).any()


def test_unusable_light_curves_are_nan_and_leave_their_neighbours_alone() -> None:
    good = [simulated(n, seed) for seed, n in enumerate((50, 4, 300))]
    bad: list[Curve] = [tuple(x[:k] for x in simulated(10)) for k in range(4)]  # type: ignore[misc]
    for column, value in ((0, np.nan), (0, np.inf), (1, np.nan), (1, -np.inf)):
        curve = simulated(30)
        curve[column][7] = value
        bad.append(curve)
    mixed = run([good[0], *bad, *good[1:]])
    np.testing.assert_array_equal(mixed[[0, -2, -1]], run(good))
    assert np.isnan(mixed[1:-2]).all()


def test_order_of_points_and_of_light_curves_does_not_matter() -> None:
    sample = [simulated(n, seed) for seed, n in enumerate((60, 5, 301, 17))]
    expected = run(sample)
    np.testing.assert_array_equal(run(sample[::-1]), expected[::-1])
    rng = np.random.default_rng(3)
    shuffled = [tuple(x[order] for x in c) for c in sample for order in [rng.permutation(len(c[0]))]]
    np.testing.assert_array_equal(run(shuffled), expected)


def test_empty_partition() -> None:
    assert run([], np.float32).shape == (0, 676)
