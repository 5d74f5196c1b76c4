"""The logarithm of Baluev's false-alarm probability, against astropy and many digits."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from astropy.timeseries import LombScargle
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_dask.periods.exact_lombscargle import lomb_scargle
from scope_dask.periods.false_alarm import log10_false_alarm_probability, periodogram_log10_fap
from scope_dask.periods.options import PeriodOptions
from scope_dask.periods.search import search
from scope_dask.ragged import LightCurves


def curve(n, seed=0):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0, 900, n))
    return t + 2458000.5, 17 + 0.2 * rng.normal(size=n), rng.uniform(0.02, 0.2, n)


@pytest.mark.parametrize("n", [5, 30, 300, 3000])
@pytest.mark.parametrize("fit_mean", [True, False])
def test_is_astropys_where_that_does_not_underflow(n, fit_mean):
    t, m, e = curve(n)
    weights = e**-2 if fit_mean else np.ones(n)
    x = t - t[0]
    time_std = np.sqrt(np.average((x - np.average(x, weights=weights)) ** 2, weights=weights))
    model = LombScargle(x, m, e if fit_mean else None, fit_mean=fit_mean)
    power = np.linspace(0, 1, 200)[:-1]
    expected = model.false_alarm_probability(power, method="baluev", maximum_frequency=48.0)
    with np.errstate(divide="ignore"):
        expected = np.log10(expected)
    usable = expected > -290
    assert usable.sum() > 10
    highest = model.autofrequency(maximum_frequency=48.0).max()  # what astropy takes for the highest
    ours = log10_false_alarm_probability(power, n, time_std, highest)
    # the probability is cut off at 1, where its logarithm has no relative precision
    np.testing.assert_allclose(ours[usable], np.minimum(expected[usable], 0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("floating_mean", [True, False])
def test_whole_partition_is_astropys(floating_mean):
    lists = [curve(n, seed=n) for n in (10, 50, 200)]
    curves = LightCurves.from_lists([*lists, (lists[0][0], np.full(10, 17.0), lists[0][2]), ([], [], [])])
    freqs = np.tile([0.3, 0.9], 5)
    arrays = (curves.hjd, curves.mag, curves.magerr, curves.offsets)
    power = lomb_scargle(*arrays, freqs, np.arange(6) * 2, floating_mean)[::2]
    highest = np.full(5, 48.0)
    for i, (t, m, _) in enumerate(lists):
        highest[i] = LombScargle(t - t[0], m).autofrequency(maximum_frequency=48.0).max()
    ours = periodogram_log10_fap(curves, power, highest, floating_mean)
    for i, (t, m, e) in enumerate(lists):
        model = LombScargle(t - t[0], m, e if floating_mean else None, fit_mean=floating_mean)
        p = model.power(0.3, method="slow")
        fap = model.false_alarm_probability(p, method="baluev", maximum_frequency=48.0)
        assert ours[i] == pytest.approx(min(np.log10(fap), 0), rel=1e-8, abs=1e-12)
    assert np.isnan(ours[3:]).all()


@pytest.mark.parametrize("n_harmonics", [1, 2, 4])
def test_noise_rarely_exceeds_the_limit_of_several_harmonics(n_harmonics):
    rng = np.random.default_rng(9)
    t = 2459000.0 + np.sort(rng.uniform(0, 100, 60))
    lists = [(t, 17 + 0.1 * rng.normal(size=60), np.full(60, 0.1)) for _ in range(1500)]
    options = PeriodOptions(("MHAOV",), max_freq=3.0, n_harmonics=n_harmonics, top_n_periods=1)
    log10_fap = search(LightCurves.from_lists(lists), options)["MHAOV"].log10_fap
    for level in (0.03, 0.1):
        share = (log10_fap < np.log10(level)).mean()
        spread = np.sqrt(level / 1500)
        assert 0.4 * level - 3 * spread < share < level + 3 * spread  # an upper limit, and not far off


def by_decimals(z, n, width):
    """Equation 6 of Baluev 2008 with 2600 digits."""
    with localcontext() as context:
        context.prec = 2600
        context.Emin = -(10**9)
        root_pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494").sqrt()
        ratio = 1 / root_pi if n % 2 else root_pi / 2  # Γ((n - 1)/2) / Γ((n - 2)/2) for n = 3 or 4
        for k in range(3 if n % 2 else 4, n, 2):
            ratio *= Decimal(k - 1) / (k - 2)
        gap = 1 - Decimal(z)
        tau = (Decimal(2) / (n - 1)).sqrt() * ratio * Decimal(width) * 2 * root_pi
        tau *= gap ** (Decimal(n - 4) / 2) * (Decimal(n - 1) / 2 * Decimal(z)).sqrt()
        return float((1 - (1 - gap ** (Decimal(n - 3) / 2)) * (-tau).exp()).log10())


@pytest.mark.parametrize("n", [10, 11, 300])
@pytest.mark.parametrize("gap", [1e-16, 1e-3, 0.3, 0.5, 0.97])
def test_against_many_digits(n, gap):
    z = 1.0 - gap
    expected = by_decimals(z, n, 48.0 * 500.0)
    ours = log10_false_alarm_probability(z, n, 500.0, 48.0)
    assert ours == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_many_points():
    for gap, expected in ((0.3, -26143.0), (0.97, -656.0)):  # (N - 3)/2 log10(gap) and a few units
        ours = log10_false_alarm_probability(1.0 - gap, 100_000, 500.0, 48.0)
        assert ours == pytest.approx(0.5 * 99_997 * np.log10(gap) + 5, abs=3)
        assert ours == pytest.approx(expected, abs=10)


@settings(deadline=None, max_examples=200)
@given(
    power=st.lists(st.floats(0, 1), min_size=2, max_size=20),
    n=st.integers(3, 100_000),
    time_std=st.floats(1e-3, 1e4),
)
def test_never_rises_with_the_power(power, n, time_std):
    power = np.sort(power)
    fap = log10_false_alarm_probability(power, n, time_std, 48.0)
    assert (fap <= 0).all()
    assert not np.isnan(fap).any()
    likely = power > 2.0 / max(n - 2, 2)  # the limit itself rises up to its maximum near 1/(n - 3)
    steps = np.diff(fap[likely & np.isfinite(fap)])
    assert (steps <= 1e-9 * np.abs(fap[likely & np.isfinite(fap)][1:])).all()


def test_strong_signals_stay_apart():
    power = 1 - np.array([1e-3, 1e-6, 1e-9, 1e-12, 1e-15])
    fap = log10_false_alarm_probability(power, 435, 400.0, 48.0)
    assert (np.diff(fap) < -100).all()
    assert fap[0] < -600


def test_limits():
    assert log10_false_alarm_probability(1.0, 100, 400.0, 48.0) == -np.inf
    assert log10_false_alarm_probability(0.0, 100, 400.0, 48.0) == 0
    assert log10_false_alarm_probability(1.0, 3, 400.0, 48.0) == 0  # three points are always fitted
    assert np.isnan(log10_false_alarm_probability(np.nan, 100, 400.0, 48.0))
    assert np.isnan(log10_false_alarm_probability(0.5, 2, 400.0, 48.0))
    assert log10_false_alarm_probability(np.full((2, 1), 0.5), [10, 20, 30], 400.0, 48.0).shape == (2, 3)
