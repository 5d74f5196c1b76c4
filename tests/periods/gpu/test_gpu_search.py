"""The search on the (emulated) device against the search on the CPU; with a GPU, on it too."""

from __future__ import annotations

import numpy as np
import pytest
from emulation import EmulatedDevice

from scope_dask.errors import OptionError
from scope_dask.periods.gpu.device import CupyDevice
from scope_dask.periods.gpu.engine import Engine, grid_of, load
from scope_dask.periods.gpu.launch import METHODS
from scope_dask.periods.gpu.search import search
from scope_dask.periods.grid import frequency_grid
from scope_dask.periods.options import PeriodOptions
from scope_dask.periods.search import search as cpu_search
from scope_dask.ragged import LightCurves

SINGLE = ("LS", "CE", "AOV", "ELS", "ECE", "EAOV")


def star(rng, n=120, period=0.7, noise=0.03, baseline=90.0):
    t = 2459000.0 + np.sort(baseline * rng.random(n))
    x = 2 * np.pi * t / period
    m = 16 + 0.4 * np.sin(x) + 0.15 * np.sin(2 * x + 0.4) + noise * rng.standard_normal(n)
    return t, m, rng.uniform(0.5, 2.0, n) * noise


def partition():
    """Stars among light curves that cannot be handled."""
    rng = np.random.default_rng(3)
    lists = [star(rng, n, period=p) for n, p in [(120, 0.61), (60, 1.9), (300, 3.3), (24, 0.9), (90, 5.0)]]
    t, m, e = star(rng, 60)
    nan_mag, nan_time, zero_error = m.copy(), t.copy(), e.copy()
    nan_mag[5], nan_time[0], zero_error[3] = np.nan, np.nan, 0.0
    lists[2:2] = [(t[:n], m[:n], e[:n]) for n in range(4)]
    lists[1:1] = [(t, np.full(60, 15.0), e), (np.full(60, 2459000.5), m, e), (t, nan_mag, e), (nan_time, m, e)]
    return LightCurves.from_lists([*lists, (t, m, zero_error), star(rng, 4), star(rng, 21)])


def assert_same(found, expected, tolerance=1e-11):
    """Equal but for ties: where another candidate is chosen, its value is the same."""
    assert found.keys() == expected.keys()
    for name, a in found.items():
        b = expected[name]
        np.testing.assert_array_equal(np.isnan(a.period), np.isnan(b.period))
        np.testing.assert_allclose(a.value, b.value, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(a.significance, b.significance, rtol=2e-4, atol=1e-6)
        same = (a.frequency == b.frequency) | np.isnan(a.frequency)
        assert (same | (np.abs(a.value - b.value) <= tolerance * np.abs(b.value))).all()
        assert np.mean(same) > 0.8
        assert (a.pdot == 0).all()
        assert (a.log10_fap is None) == (b.log10_fap is None)
        if a.log10_fap is not None:
            np.testing.assert_allclose(a.log10_fap, b.log10_fap, rtol=1e-8)
        width = min(5, a.candidate_value.shape[1])
        np.testing.assert_allclose(
            a.candidate_value[:, :width], b.candidate_value[:, :width], rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("remove_terrestrial", [False, True])
@pytest.mark.parametrize("baseline", [None, 120.0])
def test_every_method_is_the_cpus(baseline, remove_terrestrial):
    options = PeriodOptions(SINGLE, 4.0, 10, baseline, remove_terrestrial, top_n_periods=12)
    curves = partition()
    assert_same(search(curves, options, device=EmulatedDevice(), budget=100_000), cpu_search(curves, options))


@pytest.mark.parametrize("nested", ["ELS_ECE_EAOV", "LS_CE_AOV"])
def test_nested_search_is_the_cpus(nested):
    options = PeriodOptions((nested,), max_freq=4.0, top_n_periods=15, nested_full_aov=True)
    curves = partition()
    assert_same(search(curves, options, device=EmulatedDevice()), cpu_search(curves, options))


def test_float32_magnitudes():
    curves = partition()
    single = LightCurves(curves.hjd, curves.mag.astype(np.float32), curves.magerr.astype(np.float32), curves.offsets)
    double = LightCurves(curves.hjd, *(a.astype(np.float64) for a in (single.mag, single.magerr)), curves.offsets)
    options = PeriodOptions(("LS", "ECE"), max_freq=2.0, top_n_periods=5)
    a, b = (search(c, options, device=EmulatedDevice()) for c in (single, double))
    for name in a:
        for field in ("period", "significance", "candidate_frequency", "candidate_value"):
            np.testing.assert_array_equal(getattr(a[name], field), getattr(b[name], field))


def test_an_empty_partition():
    results = search(LightCurves.from_lists([]), PeriodOptions(SINGLE, top_n_periods=3), device=EmulatedDevice())
    assert list(results) == list(SINGLE)
    for result in results.values():
        assert result.period.shape == (0,)
        assert result.candidate_value.shape == (0, 3)


def test_a_partition_of_nothing_but_hopeless_light_curves():
    t = np.full(30, 2459000.0)
    curves = LightCurves.from_lists([(t, t, t), (t[:0], t[:0], t[:0])])
    for result in search(curves, PeriodOptions(SINGLE, top_n_periods=3), device=EmulatedDevice()).values():
        assert np.isnan(result.period).all()
        assert (result.significance == 0).all()


def test_too_many_periods_are_refused():
    with pytest.raises(OptionError, match=r"top_n_periods is 2000.*1024 at most"):
        search(partition(), PeriodOptions(("CE",), top_n_periods=2000, max_freq=2.0), device=EmulatedDevice())


@pytest.mark.parametrize("baseline", [None, 100.0])
def test_the_grid_is_the_cpus(baseline):
    curves, options = partition(), PeriodOptions(baseline_days=baseline, remove_terrestrial=True)
    found = grid_of(load(EmulatedDevice(), curves), options)
    expected = frequency_grid(curves.hjd, curves.offsets, options)
    handled = expected.size > 0
    np.testing.assert_array_equal(found.size, expected.size)
    np.testing.assert_array_equal(found.windows, expected.windows)
    for a, b in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_array_equal(a[handled], b[handled])


@pytest.fixture(scope="module")
def gpu():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed: the kernels run emulated only")
    if not cupy.cuda.is_available():
        pytest.skip("there is no CUDA device here: the kernels run emulated only")
    return CupyDevice()


@pytest.mark.gpu
@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_gpu_does_what_its_emulation_does(gpu, name):
    curves, options = partition(), PeriodOptions(max_freq=4.0, remove_terrestrial=True)
    found, expected = (
        Engine(d, p, grid_of(p, options), budget=100_000).scan(name, 12, 10)
        for d in (gpu, EmulatedDevice())
        for p in [load(d, curves)]
    )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    scale = np.nanmax(np.abs(expected.value))
    np.testing.assert_allclose(found.value, expected.value, rtol=0, atol=1e-5 * scale)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-5)
    np.testing.assert_allclose(found.std, expected.std, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("algorithms", [SINGLE, ("ELS_ECE_EAOV",)])
def test_the_gpu_search_is_the_cpus(gpu, algorithms):
    options = PeriodOptions(algorithms, max_freq=4.0, top_n_periods=12)
    curves = partition()
    assert_same(search(curves, options, device=gpu), cpu_search(curves, options), tolerance=1e-10)
