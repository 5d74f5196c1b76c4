"""The Fourier decomposition against the reference file and plain least squares."""

from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from scope_dask.extraction.fourier import MAX_ORDER, documented, fourier
from scope_dask.ragged import LightCurves
from scope_dask.schema import FOURIER

Curve = tuple[np.ndarray, np.ndarray, np.ndarray]


def run(curves: list[Curve], period: np.ndarray | list[float]) -> np.ndarray:
    c = LightCurves.from_lists(curves)
    return fourier(c.hjd, c.mag, c.magerr, c.offsets, np.asarray(period))


def orders(table: np.ndarray) -> np.ndarray:
    """The order k of every row: harmonics above it are exactly 0."""
    return np.any(table[:, 4:].reshape(len(table), MAX_ORDER, 2) != 0, axis=2).sum(axis=1)


def simulated(n: int, period: float = 0.7, order: int = 2, seed: int = 1) -> Curve:
    rng = np.random.default_rng(seed)
    hjd = 2458200.5 + np.sort(rng.uniform(0, 1500, n))
    magerr = rng.uniform(0.01, 0.1, n)
    mag = 17 + sum(0.3 / k * np.cos(2 * np.pi * k * hjd / period + k) for k in range(1, order + 1))
    return hjd, mag + magerr * rng.normal(size=n), magerr


def design(t: np.ndarray, period: float, order: int) -> np.ndarray:
    phase = np.mod((t - t[0]) / period + np.fmod(t[0], period) / period, 1)
    columns = [np.ones_like(t), t - t[0]]
    for k in range(1, order + 1):
        columns += [np.cos(2 * np.pi * k * phase), np.sin(2 * np.pi * k * phase)]
    return np.stack(columns, axis=1)


def brute_force(t: np.ndarray, m: np.ndarray, e: np.ndarray, period: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (one row of results, BIC of the orders): each order fitted by singular value decomposition."""
    fits, chi2, bic = [], [], []
    for order in range(MAX_ORDER + 1):
        if 2 + 2 * order >= len(t):
            break
        columns = design(t, period, order) / e[:, None]
        scale = np.linalg.norm(columns, axis=0)
        fits.append(np.linalg.lstsq(columns / scale, (m - m[0]) / e)[0] / scale)
        chi2.append(np.sum(((m - m[0]) / e - columns @ fits[-1]) ** 2))
        bic.append(chi2[-1] + np.log(len(t)) * (2 + 2 * order))
    best = int(np.argmin(bic))
    result = np.zeros(len(FOURIER))
    result[:2] = (chi2[0] - chi2[best]) / chi2[0] if best else 0.0, bic[best]
    result[2 : 4 + 2 * best] = fits[best]
    result[2] += m[0]
    return result, np.array(bic)


def test_parity_with_the_reference(shared_data: Path) -> None:
    table = pd.read_parquet(shared_data / "parity" / "reference_features.parquet")[:240]
    curves = list(zip(table["t"], table["m"], table["e"], strict=True))
    found = run(curves, table["fourier_period"].to_numpy())
    expected = table[[f"f1_{name}" for name in FOURIER]].to_numpy()
    np.testing.assert_array_equal(orders(found), orders(expected))
    np.testing.assert_allclose(found[:, 1], expected[:, 1], rtol=0, atol=1e-4)
    np.testing.assert_allclose(found[:, 0], expected[:, 0], rtol=0, atol=1e-8)
    np.testing.assert_allclose(found[:, 2:], expected[:, 2:], rtol=0, atol=1e-4)

    relative = documented(found)
    expected = table[[f"rel_f1_{name}" for name in FOURIER]].to_numpy()
    np.testing.assert_array_equal(np.isnan(relative), np.isnan(expected))
    difference = np.abs(relative - expected)[:, 4:]
    difference[:, 3::2] = np.minimum(difference[:, 3::2], 1 - difference[:, 3::2])
    # The reference stops its iteration at 3e-6 mag; a phase is known to that over its amplitude.
    amplitude = relative[:, 4, None]
    well = amplitude[:, 0] > 1e-2
    assert well.sum() > 150
    assert np.nanmax(difference[well] * amplitude[well]) < 2e-4


def test_against_the_fit_of_each_order(shared_data: Path) -> None:
    table = pd.read_parquet(shared_data / "parity" / "reference_features.parquet")[:240:8]
    for t, m, e, period in zip(table["t"], table["m"], table["e"], table["fourier_period"], strict=True):
        expected, _ = brute_force(t, m, e, period)
        np.testing.assert_allclose(run([(t, m, e)], [period])[0], expected, rtol=1e-8, atol=1e-10)


@settings(deadline=None, max_examples=80)
@given(
    n=st.integers(4, 150),
    order=st.integers(0, 5),
    cycles=st.sampled_from([0.5, 0.9, 2.0, 7.3, 40.0, 3000.0, 60000.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_brute_force(n: int, order: int, cycles: float, seed: int) -> None:
    t, m, e = simulated(n, 1500.0 / cycles, order, seed)
    period = (t[-1] - t[0]) / cycles
    expected, bic = brute_force(t, m, e, period)
    found = run([(t, m, e)], [period])[0]
    if len(bic) > 1 and np.ptp(np.sort(bic)[:2]) < 1e-6:
        return
    best = orders(expected[None])[0]
    assert orders(found[None])[0] == best
    np.testing.assert_allclose(found[:2], expected[:2], rtol=1e-8, atol=1e-8)
    # A coefficient is good to the rounding of the columns (the phases: 6e4 cycles, five times 2π) times the
    # condition of the fit.
    columns = design(t, period, best) / e[:, None]
    condition = np.linalg.cond(columns / np.linalg.norm(columns, axis=0))
    np.testing.assert_allclose(found[2:], expected[2:], rtol=0, atol=1e-10 + 1e-13 * condition)


def test_coefficients_of_a_known_series() -> None:
    hjd, _, magerr = simulated(200)
    angle = 2 * np.pi * hjd / 0.7
    mag = 15 + 2e-4 * (hjd - hjd[0]) + 0.3 * np.cos(angle) - 0.2 * np.sin(angle) + 0.1 * np.sin(2 * angle)
    found = dict(zip(FOURIER, run([(hjd, mag, magerr)], [0.7])[0], strict=True))
    # The phase of the first point: half an ulp of 3.5e6 cycles, in the reference values.
    for name, value in {"a": 15, "b": 2e-4, "amp": 0.3, "phi0": -0.2, "relamp1": 0, "relphi1": 0.1}.items():
        assert found[name] == pytest.approx(value, abs=2e-9), name
    assert found["power"] == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize("n", range(4, 14))
def test_orders_have_fewer_terms_than_points(n: int) -> None:
    hjd, _, magerr = simulated(n)
    steep = np.where(np.arange(n) % 3 == 1, 20.0, 10.0) + np.arange(n) % 2
    found = run([(hjd, steep, magerr)], [0.7])
    assert orders(found)[0] == min(MAX_ORDER, (n - 3) // 2)


@pytest.mark.parametrize(("step", "period"), [(0.5, 0.5), (0.5, 0.25), (0.1, 0.1), (0.3, 0.1)])
def test_equal_phases_leave_the_line_alone(step: float, period: float) -> None:
    _, mag, magerr = simulated(60)
    hjd = 2458200.5 + step * np.arange(60)
    found = run([(hjd, mag, magerr)], [period])
    assert orders(found)[0] == 0
    columns = design(hjd, period, 0) / magerr[:, None]
    np.testing.assert_allclose(found[0, 2:4], np.linalg.lstsq(columns, mag / magerr)[0], rtol=1e-9)


def test_two_phases_determine_one_amplitude() -> None:
    rng = np.random.default_rng(2)
    hjd = 2458200.5 + 0.25 * np.arange(80)
    sign = np.where(np.arange(80) % 2, -1.0, 1.0)
    found = run([(hjd, 17 + 0.2 * sign + rng.normal(0, 0.01, 80), np.full(80, 0.01))], [0.5])
    assert orders(found)[0] == 1
    assert found[0, 4] == pytest.approx(0.2, abs=0.01)
    assert found[0, 5] == 0


@pytest.mark.parametrize("cycles", [0.5, 0.1, 1e-3, 1e-9, 1e9, 1e300])
def test_extreme_periods_are_finite_and_fit_no_worse_than_the_line(cycles: float) -> None:
    curve = simulated(100)
    found = run([curve], [1500.0 / cycles])
    line = run([curve], [1e300])
    assert np.isfinite(found).all()
    assert found[0, 1] <= line[0, 1]


@pytest.mark.parametrize("cycles", [2.0, 1.0, 0.5, 0.1, 0.01])
def test_series_of_a_long_period_cancels_to_the_fit_that_its_bic_belongs_to(cycles: float) -> None:
    t, m, e = simulated(100)
    found = run([(t, m, e)], [1500.0 / cycles])[0]
    model = design(t, 1500.0 / cycles, MAX_ORDER) @ found[2:]
    chi2 = found[1] - np.log(100) * (2 + 2 * orders(found[None])[0])
    # Coefficients as large as 1e10 mag cancel, so the model is only good to their rounding.
    noise = 1e-15 * np.abs(found[2:]).max() / e.min()
    assert np.sqrt(np.sum(((m - model) / e) ** 2)) == pytest.approx(np.sqrt(chi2), rel=1e-9, abs=100 * noise)


def test_nothing_left_to_explain() -> None:
    hjd, _, magerr = simulated(80)
    for mag in (np.full(80, 16.3), 16 + 0.5 * (hjd - hjd[0]) / 1024):
        found = run([(hjd, mag, magerr)], [0.7])[0]
        assert found[0] == 0
        assert found[1] == pytest.approx(2 * np.log(80))
        assert not found[4:].any()
    assert run([(hjd, np.full(80, 16.3), magerr)], [0.7])[0, 2:4].tolist() == [16.3, 0]


def test_all_times_equal() -> None:
    _, mag, magerr = simulated(30)
    found = run([(np.full(30, 2458200.5), mag, magerr)], [0.7])[0]
    assert found[2] == pytest.approx(np.average(mag, weights=magerr**-2), rel=1e-14)
    assert found[0] == 0
    assert not found[3:].any()


def test_unusable_light_curves_and_periods_are_nan_and_leave_their_neighbours_alone() -> None:
    good = [simulated(n, seed=seed) for seed, n in enumerate((50, 4, 300))]
    alone = run(good, [0.7, 0.8, 0.9])
    assert np.isfinite(alone).all()
    bad: list[Curve] = [tuple(x[:k] for x in simulated(10)) for k in range(4)]  # type: ignore[misc]
    for column, value in ((0, np.nan), (1, np.inf), (2, 0.0), (2, -1.0), (2, 1e-200)):
        curve = simulated(30)
        curve[column][7] = value
        bad.append(curve)
    mixed = run([good[0], *bad, *good[1:]], [0.7, *np.full(len(bad), 0.7), 0.8, 0.9])
    np.testing.assert_array_equal(mixed[[0, -2, -1]], alone)
    assert np.isnan(mixed[1:-2]).all()
    assert np.isnan(run([good[0]] * 5, [np.nan, np.inf, 0.0, -1.0, -np.inf])).all()


def test_order_of_points_and_of_light_curves_does_not_matter() -> None:
    sample = [simulated(n, seed=seed) for seed, n in enumerate((60, 5, 301, 17))]
    periods = np.array([0.7, 0.3, 14.0, 1.1])
    expected = run(sample, periods)
    np.testing.assert_array_equal(run(sample[::-1], periods[::-1]), expected[::-1])
    rng = np.random.default_rng(3)
    shuffled = [tuple(x[order] for x in c) for c in sample for order in [rng.permutation(len(c[0]))]]
    np.testing.assert_array_equal(run(shuffled, periods), expected)


def test_several_periods_at_once() -> None:
    sample = [simulated(n, seed=seed) for seed, n in enumerate((60, 5, 3, 200))]
    periods = np.array([[0.7, 1.4, np.nan], [0.3, 0.7, 2.0], [1.0, 1.0, 1.0], [0.7, 500.0, 0.35]])
    found = run(sample, periods)
    assert found.shape == (4, 3, len(FOURIER))
    for k in range(3):
        np.testing.assert_array_equal(found[:, k], run(sample, periods[:, k]))


def test_empty_partition_and_wrong_number_of_periods() -> None:
    assert run([], []).shape == (0, len(FOURIER))
    assert run([], np.empty((0, 3))).shape == (0, 3, len(FOURIER))
    with pytest.raises(ValueError, match="there are 2 periods for 1 light curves"):
        run([simulated(10)], [0.7, 0.8])


def test_documented_contents() -> None:
    raw = np.zeros((3, 14))
    raw[0] = [0.9, 12.0, 17.0, 1e-4, 0.3, 0.4, 0.0, 0.25, 0, 0, 0, 0, 0.1, 0.0]
    raw[2] = np.nan
    found = documented(raw)
    assert raw[0, 4] == 0.3
    np.testing.assert_array_equal(found[0, :4], raw[0, :4])
    phi = np.arctan2(0.3, 0.4)
    assert found[0, 4] == pytest.approx(0.5)
    assert found[0, 5] == pytest.approx(phi)
    assert found[0, 6:8] == pytest.approx([0.5, (0 - phi) / np.pi % 1])
    assert found[0, 12:] == pytest.approx([0.2, (np.pi / 2 / 5 - phi) / (2 * np.pi / 5) % 1])
    assert np.isnan(found[1, 6::2]).all()
    assert not found[1, 7::2].any()
    assert np.isnan(found[2]).all()
    assert (documented(np.array([[0, 0, 0, 0, 1e-20, 1, 0, 1, 0, 1, 0, 1, 0, 1.0]]))[0, 7::2] < 1).all()
