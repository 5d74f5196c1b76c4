"""The features on an (emulated) device against the CPU's; with a GPU, on it too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from emulation import EmulatedDevice
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_dask.extraction import dmdt as cpu_dmdt
from scope_dask.extraction import fourier as cpu_fourier
from scope_dask.extraction import ordering as cpu_ordering
from scope_dask.extraction import statistics as cpu_statistics
from scope_dask.extraction.gpu.dmdt import PART, dmdt
from scope_dask.extraction.gpu.features import compute_on_device, host_curves
from scope_dask.extraction.gpu.fourier import BYTES_PER_POINT, chunks, fourier
from scope_dask.extraction.gpu.ordering import in_time_order
from scope_dask.extraction.gpu.statistics import statistics
from scope_dask.periods.gpu.device import FOLDERS, device_here
from scope_dask.periods.options import PeriodOptions
from scope_dask.ragged import LightCurves
from scope_dask.schema import STATISTICS

EXACT = ("n", "median", "median_abs_dev", "iqr", "i60r", "i70r", "i80r", "i90r", "norm_peak_to_peak_amp")
SAME_SIZE = [n in EXACT for n in STATISTICS.names]


@pytest.fixture(
    params=["emulated", "descending", pytest.param("gpu", marks=pytest.mark.gpu)],
)
def device(request):
    """The emulated device, its threads in either order (a missing barrier shows as a difference), and a GPU."""
    if request.param != "gpu":
        return EmulatedDevice(descending=request.param == "descending")
    if device_here() is None:
        pytest.skip("there is no CUDA device here: the kernels run emulated only")
    return device_here()


def star(n, seed=1, period=0.7):
    rng = np.random.default_rng(seed)
    t = 2458200.5 + np.sort(rng.uniform(0, 1500, n))
    e = rng.uniform(0.01, 0.1, n)
    x = 2 * np.pi * t / period
    return t, 17 + 0.3 * np.sin(x) + 0.1 * np.cos(2 * x) + e * rng.normal(size=n), e


def awkward():
    """Light curves of many lengths among such that nothing, or not everything, can be computed from."""
    lists = [star(n, n) for n in (0, 1, 2, 3, 4, 5, 6, 7, 60, 127, 128, 129, 300, 1025)]
    for column, value in ((0, np.nan), (0, np.inf), (1, np.nan), (1, -np.inf), (2, np.nan), (2, 0.0), (2, -0.1)):
        curve = star(30, 7)
        curve[column][11] = value
        lists.insert(-3, curve)
    t, m, e = star(40, 9)
    lists += [(t, np.full(40, 16.3), np.full(40, 0.02)), (t, np.full(40, 16.3), e)]
    lists += [(np.full(40, 2458200.5), m, e), (np.sort(np.rint(t)), np.round(m, 1), e)]
    order = np.random.default_rng(5).permutation(129)
    lists.append(tuple(x[order] for x in star(129, 3)))
    outlier = star(200, 4)
    outlier[1][5] += 1e6
    return LightCurves.from_lists([*lists, outlier])


def assert_statistics(found, curves):
    """Equal but for the rounding of sums: relative to the sums of their absolute terms."""
    expected = cpu_statistics.statistics(*curves.arrays)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(found[:, SAME_SIZE], expected[:, SAME_SIZE])
    for i in np.flatnonzero(np.isfinite(expected[:, 0])):
        _, m, e = curves[i]
        r = np.abs(m - np.average(m, weights=e**-2)) / e
        n = len(m)
        scale = dict.fromkeys(STATISTICS.names, 0.0) | {
            "skew": (r**3).sum(), "smallkurt": 1 + (r**4).sum(), "stetson_j": 2 * r.sum(), "ad": n,
            "welch_i": 2 * (r**2).sum(), "norm_excess_var": ((r * e) ** 2 + e**2).mean() / np.mean(m) ** 2,
        }  # fmt: skip
        # What is left of a residual when the mean changes in its last digit, 4e-15 mag, in units of the error.
        mean = 4e-15 * n / e.min() if (r > 0).any() else 0.0
        for name, a, b in zip(STATISTICS.names, found[i], expected[i], strict=True):
            atol = 1e-13 * scale[name] + (mean if name not in ("median", "ad", "sw") else 0.0)
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=atol, err_msg=f"{name} of light curve {i}")


def test_statistics_are_the_cpus(device):
    curves = awkward()
    assert_statistics(device.to_host(statistics(*curves.arrays, device=device)), curves)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 2**32 - 1), st.sampled_from([2, 15])), max_size=4))
def test_statistics_of_any_partition(specification):
    lists = []
    for n, seed, decimals in specification:
        t, m, e = star(n, seed)
        lists.append((t, np.round(m + 0.1 * np.random.default_rng(seed).standard_t(2, n), decimals), e))
    curves = LightCurves.from_lists(lists)
    assert_statistics(statistics(*curves.arrays, device=EmulatedDevice()), curves)


def test_columns_of_the_kernel_are_the_schemas():
    text = (FOLDERS[1] / "statistics.cu").read_text()
    names = text[text.index("enum At {") :].partition("{")[2].partition("}")[0].replace("\n", " ").split(",")
    assert [name.strip().lower() for name in names] == [*STATISTICS.names, "columns"]


def test_dmdt_is_the_cpus_to_the_last_bit(device):
    curves = awkward()
    given = curves.hjd, curves.mag, curves.offsets
    for dtype in (np.float32, np.float64):
        found = device.to_host(dmdt(*given, dtype, device=device))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, cpu_dmdt.dmdt(*given, dtype))


def test_dmdt_at_its_edges(device):
    """Differences at an edge and next to it, in time and in magnitude."""
    lists = []
    for edge in cpu_dmdt.DT_EDGES[1:]:
        t = np.array([0.0, np.nextafter(edge, -np.inf), edge, np.nextafter(edge, np.inf), 1e4])
        lists.append((t, np.arange(5) * 0.02, t))
    for edge in np.unique(np.abs(cpu_dmdt.DM_EDGES)):
        m = np.array([0.0, edge, np.nextafter(edge, np.inf), np.nextafter(edge, -np.inf), -edge])
        lists += [(np.arange(5.0), sign * m, m) for sign in (1, -1)]
    lists.append((np.arange(6.0), np.array([0, 1e300, -1e300, 1e5, 8.0, -8.0]), np.ones(6)))
    curves = LightCurves.from_lists(lists)
    given = curves.hjd, curves.mag, curves.offsets
    np.testing.assert_array_equal(device.to_host(dmdt(*given, device=device)), cpu_dmdt.dmdt(*given))


def test_dmdt_of_a_light_curve_in_several_parts():
    t, m, _ = star(2 * PART + 100)
    given = t, m, np.array([0, len(t)])
    device = EmulatedDevice()
    np.testing.assert_array_equal(dmdt(*given, device=device), cpu_dmdt.dmdt(*given))
    assert [blocks for kernel, blocks, _ in device.launches if kernel == "count_pairs"] == [3]


def assert_fourier(found, expected, curves, periods):
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found[:, :2], expected[:, :2], rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(found[:, 4:] == 0, expected[:, 4:] == 0)
    for i in np.flatnonzero(np.isfinite(expected[:, 0])):
        t, _, e = curves[i]
        t = np.sort(t)
        phase = 2 * np.pi * ((t - t[0]) / periods[i])
        k = np.arange(1, 1 + (expected[i, 4::2] != 0).sum())
        columns = np.hstack(
            [np.ones((len(t), 1)), (t - t[0])[:, None], np.cos(np.outer(phase, k)), np.sin(np.outer(phase, k))]
        )
        columns = columns[:, np.ptp(columns, axis=0) + (np.arange(columns.shape[1]) == 0) > 0] / e[:, None]
        condition = np.linalg.cond(columns / np.linalg.norm(columns, axis=0))
        np.testing.assert_allclose(found[i, 2:], expected[i, 2:], rtol=1e-11, atol=1e-12 + 1e-13 * condition)


def test_fourier_is_the_cpus(device):
    curves = awkward()
    rng = np.random.default_rng(2)
    periods = rng.choice([0.7, 0.35, 1.4, 13.7, 700.0, 0.05], len(curves))
    found = device.to_host(fourier(*curves.arrays, periods, device=device))
    assert_fourier(found, cpu_fourier.fourier(*curves.arrays, periods), curves, periods)


def test_fourier_at_several_periods_in_chunks(device):
    curves = LightCurves.from_lists([star(n, n) for n in (60, 5, 3, 200, 20, 90)])
    periods = np.array([[0.7, 1.4, np.nan], [0.3, 0.7, 2.0]] + [[0.7, 500.0, 0.35]] * 3 + [[-1.0, np.inf, 0.0]])
    found = device.to_host(fourier(*curves.arrays, periods, device=device, budget=100 * BYTES_PER_POINT))
    assert found.shape == (6, 3, 14)
    assert np.isnan(found[-1]).all()
    for k in range(3):
        alone = device.to_host(fourier(*curves.arrays, np.ascontiguousarray(periods[:, k]), device=device))
        np.testing.assert_array_equal(found[:, k], alone)
        assert_fourier(found[:, k], cpu_fourier.fourier(*curves.arrays, periods[:, k]), curves, periods[:, k])


@pytest.mark.parametrize("step", [0.7, 0.35, 1.4])
def test_directions_that_the_points_do_not_determine(step):
    _, m, e = star(60)
    given = 2458200.5 + step * np.arange(60), m, e, np.array([0, 60]), np.array([0.7])
    found, expected = fourier(*given, device=EmulatedDevice()), cpu_fourier.fourier(*given)
    np.testing.assert_array_equal(found == 0, expected == 0)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("cycles", [2.0, 0.5, 1e-9, 1e9, 1e300])
def test_extreme_periods_give_the_same_fit(cycles):
    curves, period = LightCurves.from_lists([star(100)]), np.array([1500.0 / cycles])
    found = fourier(*curves.arrays, period, device=EmulatedDevice())
    np.testing.assert_allclose(found[:, :2], cpu_fourier.fourier(*curves.arrays, period)[:, :2], rtol=1e-8)


@pytest.mark.parametrize("cycles", [0.1, 1e-3])
def test_what_only_rounding_tells_apart_fits_no_worse_than_the_line(cycles):
    """Of so little of a cycle the harmonics differ in their last digits: another sine gives other directions."""
    curves = LightCurves.from_lists([star(100)])
    found, line = (fourier(*curves.arrays, np.array([p]), device=EmulatedDevice())[0] for p in (1500 / cycles, 1e300))
    assert np.isfinite(found).all()
    assert found[1] <= line[1]


def test_errors_whose_weights_overflow():
    t, m, _ = star(40)
    given = t, m, np.full(40, 1e-200), np.array([0, 40]), np.array([0.7])
    assert np.isnan(fourier(*given, device=EmulatedDevice())).all()


def test_wrong_number_of_periods():
    with pytest.raises(ValueError, match="there are 2 periods for 1 light curves"):
        fourier(*LightCurves.from_lists([star(10)]).arrays, np.array([0.7, 0.8]), device=EmulatedDevice())


@given(st.lists(st.integers(0, 30), max_size=12), st.integers(1, 60))
def test_chunks_cover_every_light_curve_within_the_budget(sizes, most):
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    ranges = list(chunks(offsets, most))
    assert [i for start, stop in ranges for i in range(start, stop)] == list(range(len(sizes)))
    assert all(offsets[stop] - offsets[start] <= most or stop == start + 1 for start, stop in ranges)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.sampled_from([*np.arange(12.0), np.nan]), max_size=40), max_size=4))
def test_time_order_is_the_cpus(lists):
    times = np.array([t for curve in lists for t in curve])
    offsets = np.concatenate([[0], np.cumsum([len(curve) for curve in lists])]).astype(np.int64)
    index = np.arange(float(len(times)))
    found = in_time_order(offsets, times, index, device=EmulatedDevice())
    expected = cpu_ordering.in_time_order(offsets, times, index)
    if not np.isnan(times).any():  # among others that may leave the order of a light curve as it is
        np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(np.sort(found[0]), np.sort(times))


def test_what_is_in_order_is_not_copied():
    t, m, _ = star(300)
    assert np.shares_memory(in_time_order(np.array([0, 200, 300]), t, m, device=EmulatedDevice())[1], m)


def test_company_does_not_matter(device):
    curves = awkward()
    whole = device.to_host(statistics(*curves.arrays, device=device))
    for i in (8, 13, len(curves) - 2):
        alone = LightCurves.from_lists([curves[i]])
        np.testing.assert_array_equal(device.to_host(statistics(*alone.arrays, device=device))[0], whole[i])


def test_empty_partition(device):
    curves = LightCurves.from_lists([])
    given = curves.arrays
    assert statistics(*given, device=device).shape == (0, 22)
    assert dmdt(given[0], given[1], given[3], device=device).shape == (0, 676)
    assert fourier(*given, np.empty((0, 2)), device=device).shape == (0, 2, 14)
    assert compute_on_device(curves, PeriodOptions(("CE",)), device=device).fourier["CE"].shape == (0, 14)


def test_the_reference_file(shared_data: Path):
    table = pd.read_parquet(shared_data / "parity" / "reference_features.parquet")[::4]
    curves = LightCurves.from_lists(list(zip(table["t"], table["m"], table["e"], strict=True)))
    found = statistics(*curves.arrays, device=EmulatedDevice())
    usable = ~table["kind"].isin(["edge_n1", "edge_n2", "edge_n3", "edge_nanmag", "edge_zeroerr"]).to_numpy()
    assert np.isnan(found[~usable]).all()
    for i, name in enumerate(STATISTICS.names):
        np.testing.assert_allclose(found[usable, i], table[name][usable], rtol=5e-6 if name == "sw" else 1e-9)
    histograms = dmdt(curves.hjd, curves.mag, curves.offsets, np.float64, device=EmulatedDevice())
    np.testing.assert_array_equal(histograms[usable], np.stack(table["dmdt"][usable]))


def test_everything_of_a_partition(device):
    curves = LightCurves.from_lists([star(n, n) for n in (60, 3, 120, 25)])
    single = LightCurves(curves.hjd, *(a.astype(np.float32) for a in (curves.mag, curves.magerr)), curves.offsets)
    double = LightCurves(single.hjd, *(a.astype(np.float64) for a in (single.mag, single.magerr)), single.offsets)
    options = PeriodOptions(("LS", "CE"), max_freq=2.0, top_n_periods=5)
    found, same = (compute_on_device(c, options, device=device) for c in (single, double))
    assert list(found.periods) == list(found.fourier) == ["LS", "CE"]
    assert_statistics(found.statistics, double)
    for name, result in found.periods.items():
        expected = cpu_fourier.fourier(*double.arrays, result.period)
        assert_fourier(found.fourier[name], expected, double, result.period)
        np.testing.assert_array_equal(found.fourier[name], same.fourier[name])
    np.testing.assert_array_equal(device.to_host(found.dmdt), cpu_dmdt.dmdt(double.hjd, double.mag, double.offsets))


def test_light_curves_for_what_the_cpu_does(device):
    curves = LightCurves.from_lists([star(n, n) for n in (60, 3)])
    single = LightCurves(*(device.from_host(a.astype(np.float32)) for a in curves.arrays[:3]), curves.offsets)
    for a, b in zip(host_curves(single, device).arrays, curves.arrays, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b.astype(np.float32) if b.dtype == np.float64 else b)
