"""The 22 statistics against the reference file, NumPy and SciPy."""

from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings

from scope_dask.extraction.normality import lower_quantile
from scope_dask.extraction.ordering import in_time_order, sort_room, sort_values
from scope_dask.extraction.statistics import statistics
from scope_dask.ragged import LightCurves
from scope_dask.schema import STATISTICS

Curve = tuple[np.ndarray, np.ndarray, np.ndarray]


def run(*curves: Curve) -> np.ndarray:
    c = LightCurves.from_lists(curves)
    return statistics(c.hjd, c.mag, c.magerr, c.offsets)


def row(curve: Curve) -> dict[str, float]:
    return dict(zip(STATISTICS.names, run(curve)[0], strict=True))


def simulated(n: int, seed: int = 1) -> Curve:
    rng = np.random.default_rng(seed)
    hjd = 2458200.5 + np.sort(rng.uniform(0, 1500, n))
    magerr = rng.uniform(0.01, 0.1, n)
    return hjd, 17 + 0.3 * np.sin(hjd) + magerr * rng.normal(size=n), magerr


def brute_force(t: np.ndarray, m: np.ndarray, e: np.ndarray) -> dict[str, float]:
    """The formulas of docs/features.md in NumPy and SciPy."""
    n, w = len(m), e**-2
    mean, median = np.average(m, weights=w), np.median(m)
    r = (m - mean) / e
    wstd = np.sqrt(np.sum(w * (m - mean) ** 2) / np.sum(w))
    d = np.sqrt(n / (n - 1)) * r
    pairs = d[:-1] * d[1:]
    steps = np.diff(t) ** -2
    eta = np.sum(steps * np.diff(m) ** 2) / (np.sum(steps) * wstd**2)
    top, bottom = np.max(m - e), np.min(m + e)
    ordered = np.sort(m / e)
    z = (ordered - ordered.mean()) / ordered.std(ddof=1)
    logs = scipy.stats.norm.logcdf(z) + scipy.stats.norm.logsf(z)[::-1]
    result = {
        "n": n, "median": median, "wmean": mean, "wstd": wstd,
        "chi2red": np.sum(r**2) / (n - 1),
        "roms": np.sum(np.abs(m - median) / e) / (n - 1),
        "norm_peak_to_peak_amp": (top - bottom) / (top + bottom),
        "norm_excess_var": np.sum((m - mean) ** 2 - e**2) / (n * mean**2),
        "median_abs_dev": np.median(np.abs(m - median)),
        "skew": n / ((n - 1) * (n - 2)) * np.sum(r**3),
        "smallkurt": n * (n + 1) / ((n - 1) * (n - 2) * (n - 3)) * np.sum(r**4)
        - 3 * (n - 1) ** 2 / ((n - 2) * (n - 3)),
        "inv_vonneumannratio": 1 / eta,
        "welch_i": np.sum(pairs),
        "stetson_j": np.sum(np.sign(pairs) * np.sqrt(np.abs(pairs))),
        "stetson_k": np.mean(np.abs(d)) / np.sqrt(np.mean(d**2)),
        "ad": -n - np.sum((2 * np.arange(1, n + 1) - 1) / n * logs),
        "sw": scipy.stats.shapiro(m / e).statistic,
    }  # fmt: skip
    for name, width in (("iqr", 50), ("i60r", 60), ("i70r", 70), ("i80r", 80), ("i90r", 90)):
        low, high = np.percentile(m, [50 - width / 2, 50 + width / 2])
        result[name] = high - low
    return result


def scales(t: np.ndarray, m: np.ndarray, e: np.ndarray) -> dict[str, float]:
    """Sums of absolute terms: rounding of a sum is relative to these, not to what cancellation leaves."""
    r = np.abs(m - np.average(m, weights=e**-2)) / e
    n = len(m)
    return {
        "skew": np.sum(r**3),
        "smallkurt": 1 + np.sum(r**4),
        "welch_i": 2 * np.sum(r[1:] * r[:-1]),
        "stetson_j": 2 * np.sum(np.sqrt(r[1:] * r[:-1])),
        "norm_excess_var": np.sum((r * e) ** 2 + e**2) / n / np.mean(m) ** 2,
        "ad": n,
    }


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    """Light curves from regular to awkward: ties in magnitude, outliers, unequal errors."""
    n = draw(st.integers(4, 120))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    t = 2458200.5 + np.cumsum(rng.exponential(draw(st.sampled_from([0.01, 1.0, 30.0])), n) + 1e-4)
    e = rng.uniform(0.01, draw(st.sampled_from([0.011, 0.3])), n)
    m = draw(st.sampled_from([12.0, 17.0, 20.5])) + draw(st.sampled_from([0.02, 0.5])) * rng.standard_t(2, n)
    decimals = draw(st.sampled_from([2, 15]))
    return t, np.round(m, decimals), e


def test_parity_with_the_reference(shared_data: Path) -> None:
    table = pd.read_parquet(shared_data / "parity" / "reference_features.parquet")
    found = run(*zip(table["t"], table["m"], table["e"], strict=True))
    usable = ~table["kind"].isin(["edge_n1", "edge_n2", "edge_n3", "edge_nanmag", "edge_zeroerr"]).to_numpy()
    assert np.isnan(found[~usable]).all()
    for i, name in enumerate(STATISTICS.names):
        tolerance = 5e-6 if name == "sw" else 1e-9
        np.testing.assert_allclose(found[usable, i], table[name][usable], rtol=tolerance, atol=0, err_msg=name)


@settings(deadline=None, max_examples=60)
@given(curves())
def test_brute_force(curve: Curve) -> None:
    if np.ptp(curve[1]) == 0:
        return
    found, expected, scale = row(curve), brute_force(*curve), scales(*curve)
    assert list(found) == STATISTICS.names
    for name, value in expected.items():
        # 1e-8 for W: SciPy's inverse normal is of single precision. The others: some N rounding errors of a
        # sum, and the mean's own, 2e-15, seen in units of an error of 0.01 mag.
        tolerance = 1e-8 if name == "sw" else 1e-10
        atol = 1e-12 * scale.get(name, 1.0) + (1e-13 if name != "sw" else 0.0)
        np.testing.assert_allclose(found[name], value, rtol=tolerance, atol=atol, err_msg=name)


@pytest.mark.parametrize("n", [4, 5, 6, 7, 1000, 5001, 20000])
@pytest.mark.filterwarnings("ignore:scipy.stats.shapiro. For N > 5000")
def test_normality_at_any_length(n: int) -> None:
    curve = simulated(n)
    found, expected = row(curve), brute_force(*curve)
    assert found["sw"] == pytest.approx(expected["sw"], rel=1e-7)
    assert found["ad"] == pytest.approx(expected["ad"], rel=1e-9)


def test_a_tail_beyond_the_range_of_erfc() -> None:
    hjd, mag, magerr = simulated(3000)
    mag[5] += 1e6
    expected = brute_force(hjd, mag, magerr)["ad"]
    assert row((hjd, mag, magerr))["ad"] == pytest.approx(expected, rel=1e-11)


def test_constant_magnitudes() -> None:
    n = 60
    hjd, _, magerr = simulated(n)
    found = row((hjd, np.full(n, 16.3), np.full(n, 0.02)))
    assert np.isnan([found[k] for k in ("inv_vonneumannratio", "stetson_k", "ad")]).all()
    assert found["sw"] == 1
    assert found["wmean"] == found["median"] == 16.3
    assert found["smallkurt"] == pytest.approx(-3 * (n - 1) ** 2 / ((n - 2) * (n - 3)))
    for name in ("wstd", "chi2red", "roms", "median_abs_dev", "iqr", "i90r", "skew", "welch_i", "stetson_j"):
        assert found[name] == 0
    # With unequal errors m/e is not constant, and both tests of normality are defined.
    unequal = row((hjd, np.full(n, 16.3), magerr))
    assert np.isfinite([unequal["ad"], unequal["sw"]]).all()
    assert unequal["wstd"] == 0


def test_two_equal_times_make_only_the_von_neumann_ratio_undefined() -> None:
    hjd, mag, magerr = simulated(50)
    hjd[20] = hjd[21]
    found = row((hjd, mag, magerr))
    assert [k for k, v in found.items() if np.isnan(v)] == ["inv_vonneumannratio"]


def test_unusable_light_curves_are_nan_and_leave_their_neighbours_alone() -> None:
    good = [simulated(n, seed) for seed, n in enumerate((50, 4, 300))]
    bad: list[Curve] = [tuple(x[:k] for x in simulated(10)) for k in range(4)]  # type: ignore[misc]
    for column, value in (
        (0, np.nan),
        (0, np.inf),
        (1, np.nan),
        (1, -np.inf),
        (2, np.nan),
        (2, 0.0),
        (2, -0.1),
    ):
        curve = simulated(30)
        curve[column][7] = value
        bad.append(curve)
    alone = run(*good)
    assert np.isfinite(alone).all()
    mixed = run(*bad[:4], good[0], *bad[4:8], good[1], *bad[8:], good[2])
    kept = [4, 9, len(mixed) - 1]
    np.testing.assert_array_equal(mixed[kept], alone)
    assert np.isnan(np.delete(mixed, kept, axis=0)).all()


def test_order_of_points_and_of_light_curves_does_not_matter() -> None:
    sample = [simulated(n, seed) for seed, n in enumerate((60, 5, 301, 17))]
    expected = run(*sample)
    np.testing.assert_array_equal(run(*sample[::-1]), expected[::-1])
    rng = np.random.default_rng(3)
    shuffled = [tuple(x[order] for x in c) for c in sample for order in [rng.permutation(len(c[0]))]]
    np.testing.assert_array_equal(run(*shuffled), expected)


def test_empty_partition() -> None:
    assert run().shape == (0, len(STATISTICS))
    assert run((np.empty(0), np.empty(0), np.empty(0))).shape == (1, len(STATISTICS))


def test_time_order_is_stable_and_free_where_there_is_order() -> None:
    hjd = np.array([2.0, 1.0, 1.0, 0.5, 0.25, np.nan, 0.125])
    offsets = np.array([0, 4, 4, 7])
    t, index = in_time_order(offsets, hjd, np.arange(7.0))
    np.testing.assert_array_equal(t, [0.5, 1, 1, 2, 0.125, 0.25, np.nan])
    np.testing.assert_array_equal(index, [3, 1, 2, 0, 6, 4, 5])
    ordered = np.array([3.0, 4.0, 1.0, 2.0])
    assert np.shares_memory(in_time_order(np.array([0, 2, 4]), ordered)[0], ordered)
    assert np.shares_memory(in_time_order(np.array([0, 0, 2, 4, 4]), ordered)[0], ordered)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0]), min_size=1, max_size=200))
def test_sort(values: list[float]) -> None:
    n = len(values)
    room = sort_room(np.array([0, n]))
    buffer = np.full(room, -1.0)
    buffer[:n] = values
    np.testing.assert_array_equal(sort_values(buffer, np.empty(room), n)[:n], np.sort(values))


def test_lower_quantile() -> None:
    p = np.concatenate([np.geomspace(1e-10, 0.5, 200), [0.075, np.nextafter(0.075, 0)]])
    found = [lower_quantile(x) for x in p]
    np.testing.assert_allclose(found, scipy.special.ndtri(p), rtol=1e-14, atol=1e-16)
