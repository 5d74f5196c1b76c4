"""The search of a partition: what is written, how a period is chosen, what is degenerate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_dask.errors import OptionError
from scope_dask.periods import aov, folding, lombscargle
from scope_dask.periods.grid import TERRESTRIAL_WINDOWS
from scope_dask.periods.options import PeriodOptions
from scope_dask.periods.search import periodogram, search
from scope_dask.ragged import LightCurves
from scope_dask.schema import ALGORITHMS

SINGLE = ("LS", "CE", "AOV", "ELS", "ECE", "EAOV", "MHAOV", "BLS", "FPW")
EVERY = PeriodOptions(algorithms=SINGLE, max_freq=4.0, top_n_periods=12, baseline_days=91.7)


def star(rng, n=120, period=0.7, noise=0.03, baseline=90.0):
    t = 2459000.0 + np.sort(baseline * rng.random(n))
    x = 2 * np.pi * t / period
    m = 16 + 0.4 * np.sin(x) + 0.15 * np.sin(2 * x + 0.4) + noise * rng.standard_normal(n)
    return t, m, rng.uniform(0.5, 2.0, n) * noise


def stars(n, seed=0, **options):
    rng = np.random.default_rng(seed)
    return [star(rng, period=p, **options) for p in rng.uniform(0.5, 5.0, n)]


def degenerate():
    rng = np.random.default_rng(3)
    t, m, e = star(rng, 60)
    nan_mag, nan_time = m.copy(), t.copy()
    nan_mag[5] = np.nan
    nan_time[0] = np.nan
    return {
        "no point": (t[:0], m[:0], e[:0]),
        "one point": (t[:1], m[:1], e[:1]),
        "two points": (t[:2], m[:2], e[:2]),
        "three points": (t[:3], m[:3], e[:3]),
        "constant": (t, np.full(60, 15.0), e),
        "equal times": (np.full(60, 2459000.5), m, e),
        "NaN magnitude": (t, nan_mag, e),
        "NaN time": (nan_time, m, e),
    }


def fields(result):
    names = (
        "period",
        "significance",
        "pdot",
        "log10_fap",
        "frequency",
        "value",
        "candidate_frequency",
        "candidate_value",
        "candidate_pdot",
    )
    return {name: getattr(result, name) for name in names if getattr(result, name) is not None}


def assert_equal(a, b):
    assert fields(a).keys() == fields(b).keys()
    for name, values in fields(a).items():
        np.testing.assert_array_equal(values, fields(b)[name], err_msg=name)


@pytest.mark.parametrize("algorithm", SINGLE)
def test_the_period_is_the_best_of_the_whole_periodogram(algorithm):
    lists = stars(4, seed=1)
    result = search(LightCurves.from_lists(lists), EVERY)[algorithm]
    for i, one in enumerate(lists):
        frequency, value = periodogram(*one, algorithm, EVERY)
        sign = -1 if algorithm in ("CE", "ECE") else 1
        assert result.frequency[i] == frequency[np.argmax(sign * value)]
        np.testing.assert_allclose(result.value[i], (sign * value).max() * sign, rtol=1e-12)
        assert result.period[i] == 1 / result.frequency[i]
        z = abs(result.value[i] - value.mean()) / value.std()
        np.testing.assert_allclose(result.significance[i], z, rtol=3e-3)
        steps = np.sort(result.candidate_frequency[i]) * 10 * 91.7
        assert (np.diff(steps[np.isfinite(steps)]) > 7.9).all()  # 10 in the scan, each moved by one at most
        assert (np.diff(sign * result.candidate_value[i][np.isfinite(steps)]) <= 0).all()
    assert (result.pdot == 0).all()


def test_known_periods_are_found():
    rng = np.random.default_rng(11)
    periods = np.array([0.21, 0.7, 1.9, 6.3])
    curves = LightCurves.from_lists([star(rng, period=p) for p in periods])
    for algorithm, result in search(curves, PeriodOptions(algorithms=SINGLE, max_freq=10.0)).items():
        ratio = result.period / periods
        multiple = np.rint(np.maximum(ratio, 1 / ratio))
        assert (multiple <= 3).all(), algorithm
        np.testing.assert_allclose(np.maximum(ratio, 1 / ratio), multiple, rtol=0.03, err_msg=algorithm)


@pytest.mark.parametrize("nested", ["ELS_ECE_EAOV", "LS_CE_AOV"])
@pytest.mark.parametrize("full", [False, True])
def test_the_nested_search_writes_its_parts_and_itself(nested, full):
    curves = LightCurves.from_lists(stars(2))
    options = PeriodOptions(algorithms=(nested,), max_freq=3.0, nested_full_aov=full)
    results = search(curves, options)
    assert tuple(results) == options.written == (*nested.split("_")[: 3 if full else 2], "ELS_ECE_EAOV")
    single = search(curves, PeriodOptions(algorithms=tuple(nested.split("_")), max_freq=3.0))
    for name in list(results)[:-1]:
        assert_equal(results[name], single[name])


def test_the_nested_search_takes_the_best_aov_among_the_peaks_of_two_methods():
    lists = stars(5, seed=4, noise=0.3)
    options = PeriodOptions(max_freq=4.0, top_n_periods=7, remove_terrestrial=True)
    results = search(LightCurves.from_lists(lists), options)
    for i, one in enumerate(lists):
        peaks = np.union1d(results["ELS"].candidate_frequency[i], results["ECE"].candidate_frequency[i])
        peaks = peaks[np.isfinite(peaks)]
        frequency, theta = periodogram(*one, "EAOV", options)
        among = np.isin(frequency, peaks)
        assert among.sum() == len(peaks) > 7
        nested = results["ELS_ECE_EAOV"]
        assert nested.frequency[i] == frequency[among][theta[among].argmax()]
        np.testing.assert_allclose(nested.significance[i], theta[among].max(), rtol=1e-12)
        assert nested.log10_fap is None


def test_terrestrial_windows_are_left_out():
    lists = [star(np.random.default_rng(2), period=p) for p in (1.0, 0.5, 2.0)]
    curves = LightCurves.from_lists(lists)
    everywhere = search(curves, EVERY)
    masked = search(curves, PeriodOptions(algorithms=SINGLE, max_freq=4.0, top_n_periods=12, remove_terrestrial=True))
    for algorithm in SINGLE:
        f = masked[algorithm].candidate_frequency
        for low, high in TERRESTRIAL_WINDOWS:
            assert not ((f >= low) & (f <= high)).any()
        assert (masked[algorithm].period != everywhere[algorithm].period).all()


@pytest.mark.parametrize("algorithms", [SINGLE, ("ELS_ECE_EAOV",), ("LS_CE_AOV",)])
@pytest.mark.parametrize("baseline", [None, 90.0])
def test_degenerate_light_curves_have_no_period_and_harm_no_neighbour(algorithms, baseline):
    good = stars(2, seed=8)
    bad = degenerate()
    options = PeriodOptions(algorithms=algorithms, max_freq=3.0, baseline_days=baseline)
    together = search(LightCurves.from_lists([good[0], *bad.values(), good[1]]), options)
    apart = search(LightCurves.from_lists(good), options)
    for name, result in together.items():
        inner = slice(1, 1 + len(bad))
        assert np.isnan(result.period[inner]).all()
        assert (result.significance[inner] == 0).all()
        assert (result.pdot == 0).all()
        for field, values in fields(result).items():
            np.testing.assert_array_equal(values[[0, -1]], fields(apart[name])[field], err_msg=field)
        assert np.isfinite(result.period[[0, -1]]).all()


def test_twenty_points_are_too_few_for_the_analysis_of_variance_only():
    curve = star(np.random.default_rng(6), 20)
    results = search(LightCurves.from_lists([curve]), PeriodOptions(algorithms=("CE", "LS", "AOV"), max_freq=3.0))
    assert np.isfinite([results["CE"].period[0], results["LS"].period[0]]).all()
    assert np.isnan(results["AOV"].period[0])
    assert results["AOV"].significance[0] == 0
    nested = search(LightCurves.from_lists([curve]), PeriodOptions(max_freq=3.0))["ELS_ECE_EAOV"]
    assert np.isnan(nested.period[0])
    assert nested.significance[0] == 0


@given(st.permutations(range(6)), st.integers(1, 5))
@settings(deadline=None, max_examples=10)
def test_results_do_not_depend_on_the_partition(order, cut):
    lists = [*stars(3, seed=5), star(np.random.default_rng(1), 25), *list(degenerate().values())[2:6:3]]
    options = PeriodOptions(max_freq=2.0, nested_full_aov=True, remove_terrestrial=True)
    whole = search(LightCurves.from_lists(lists), options)
    shuffled = [lists[i] for i in order]
    parts = [search(LightCurves.from_lists(p), options) for p in (shuffled[:cut], shuffled[cut:])]
    for name, result in whole.items():
        for field, values in fields(result).items():
            joined = np.concatenate([fields(p[name])[field] for p in parts])
            np.testing.assert_array_equal(joined, values[list(order)], err_msg=f"{name} {field}")


def test_an_empty_partition():
    for name, result in search(LightCurves.from_lists([]), EVERY).items():
        assert name in SINGLE
        assert all(len(values) == 0 for values in fields(result).values())


def test_strong_signals_have_a_finite_false_alarm_probability():
    results = search(LightCurves.from_lists([*stars(1, noise=1e-4), *stars(1, noise=50.0)]), EVERY)
    for name in ("LS", "ELS", "MHAOV"):
        strong, noise = results[name].log10_fap
        assert -1000 < strong < -20
        assert -6 < noise <= 0
    assert results["CE"].log10_fap is None


def test_boxes_propose_candidates_to_the_nested_search():
    rng = np.random.default_rng(5)
    t = np.sort(rng.choice(np.arange(0.0, 200.0, 0.02), 400, replace=False))
    phase = t / 3.7 % 1.0
    m = 15 + 0.5 * (np.abs(phase - 0.3) < 0.015) + 0.01 * rng.standard_normal(400)
    curves = LightCurves.from_lists([(t, m, np.full(400, 0.01))])
    options = PeriodOptions(max_freq=8.0, nested_boxes=True)
    results = search(curves, options)
    assert tuple(results) == options.written == ("ELS", "ECE", "BLS", "ELS_ECE_EAOV")
    assert results["BLS"].candidate_frequency.max() < options.boxes.max_freq
    assert results["BLS"].period[0] == pytest.approx(3.7, rel=1e-3)
    among = np.concatenate([results[name].candidate_frequency[0] for name in ("ELS", "ECE", "BLS")])
    nested = results["ELS_ECE_EAOV"].candidate_frequency[0]
    np.testing.assert_array_equal(np.sort(nested[np.isfinite(nested)]), np.unique(among))


@pytest.mark.parametrize("algorithms", [("CE", "EAOV", "LS"), ("ELS_ECE_EAOV",)])
def test_a_changing_period_is_found(algorithms):
    rng = np.random.default_rng(2)
    t = np.sort(rng.choice(np.arange(0.0, 1500.0, 0.03), 400, replace=False))
    changing = 0.25 * np.sin(2 * np.pi * (t / 0.3 - 0.5 * 1e-7 * (t / 0.3) ** 2))  # Ṗ = 1e-7, first order
    curves = LightCurves.from_lists(
        [(t, 15 + changing + 0.02 * rng.standard_normal(400), np.full(400, 0.02)), (t, *star(rng, 400)[1:])]
    )
    options = PeriodOptions(algorithms, max_freq=4.0, pdots=(-1e-7, 0.0, 1e-7))
    for name, found in search(curves, options).items():
        if name in ("LS", "ELS"):
            assert (found.pdot == 0).all()
            continue
        assert found.pdot[0] == 1e-7, name
        multiple = max(found.period[0] / 0.3, 0.3 / found.period[0])
        assert multiple == pytest.approx(np.rint(multiple), rel=1e-3), name
    fixed = search(curves, PeriodOptions(algorithms, max_freq=4.0))
    for name, found in fixed.items():
        assert (found.pdot == 0).all(), name


def test_no_changing_period_is_the_search_without():
    curves = LightCurves.from_lists([*stars(2, seed=3), *degenerate().values()])
    plain = search(curves, PeriodOptions(("CE", "AOV"), max_freq=3.0))
    both = search(curves, PeriodOptions(("CE", "AOV"), max_freq=3.0, pdots=(0.0, 0.0)))
    for name in plain:
        np.testing.assert_allclose(both[name].value, plain[name].value, rtol=1e-12)
        np.testing.assert_array_equal(both[name].period, plain[name].period)


def test_read_only_arrays_are_searched_by_the_same_compiled_kernels():
    search(LightCurves.from_lists(stars(2)), EVERY)
    kernels = (folding._scan, aov._scan, lombscargle._all_peaks)
    before = [len(k.signatures) for k in kernels]
    curves = LightCurves.from_lists(stars(2))
    for array in (curves.hjd, curves.mag, curves.magerr, curves.offsets):
        array.flags.writeable = False
    search(curves, EVERY)
    assert [len(k.signatures) for k in kernels] == before == [1, 1, 1]


def test_a_periodogram_is_masked_and_knows_all_algorithms():
    one = stars(1)[0]
    options = PeriodOptions(max_freq=2.5, remove_terrestrial=True)
    for algorithm in (*ALGORITHMS, "LS_CE_AOV"):
        frequency, value = periodogram(*one, algorithm, options)
        assert frequency.shape == value.shape
        assert np.isfinite(value).all()
        assert not ((frequency >= 0.95) & (frequency <= 1.05)).any()
    with pytest.raises(OptionError, match=r"no period algorithm 'EAVO' \(did you mean 'EAOV'\?\)"):
        periodogram(*one, "EAVO", options)
