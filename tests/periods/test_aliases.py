"""Aliases: spectral window, relations between frequencies, the choice between candidates, agreement."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_dask.periods import aliases, harmonic_fit
from scope_dask.periods.aliases import ALIAS, HARMONIC, SAME, SAMPLING_NAMES, UNRELATED
from scope_dask.ragged import LightCurves


def nightly(rng, n, baseline=900):
    """Times within two hours of the same sidereal time, every night at most once."""
    night = np.sort(rng.choice(baseline, n, replace=False))
    return 58200.3 + night / 1.00273790935 + rng.uniform(0, 0.08, n)


def sawtooth(seed, n=70, period=0.5731, amplitude=0.8, error=0.03):
    rng = np.random.default_rng(seed)
    t = nightly(rng, n)
    phase = t / period % 1.0
    return t, 16.0 + amplitude * np.minimum(phase, 6 * (1 - phase)) + error * rng.standard_normal(n), np.full(n, error)


def resolve(curves, candidates):
    return aliases.resolve(curves.hjd, curves.mag, curves.magerr, curves.offsets, np.asarray(candidates, float))


def shares_by_least_squares(t, m, e, f):
    w = 1 / e
    base = [np.ones_like(t)]
    spread = np.sum(((m - np.average(m, weights=w**2)) * w) ** 2)
    shares = []
    for h in range(1, harmonic_fit.HARMONICS + 1):
        base += [np.cos(2 * np.pi * h * f * (t - t[0])), np.sin(2 * np.pi * h * f * (t - t[0]))]
        A = np.stack(base, axis=1) * w[:, None]
        rest = m * w - A @ np.linalg.lstsq(A, m * w, rcond=None)[0]
        shares.append(1 - np.sum(rest**2) / spread)
    return shares


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 80), st.floats(0.0, 50.0))
def test_spectral_window_agrees_with_its_definition(seed, n, f):
    t = 58000 + np.random.default_rng(seed).uniform(0, 1000, n)
    got = aliases.spectral_window(t, np.array([0, n]), np.array([f]), np.array([0, 1]))[0]
    assert got == pytest.approx(abs(np.mean(np.exp(2j * np.pi * f * (t - t.min())))) ** 2, abs=1e-9)


def test_spectral_window_of_no_point_and_of_nan_is_nan():
    t = np.array([1.0, np.nan, 3.0, 5.0])
    got = aliases.spectral_window(t, np.array([0, 0, 2, 4]), np.ones(3), np.arange(4))
    assert np.isnan(got[:2]).all()
    assert got[2] == pytest.approx(1.0)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(40, 200), st.floats(0.05, 30.0))
def test_shares_agree_with_least_squares(seed, n, f):
    rng = np.random.default_rng(seed)
    t, m, e = np.sort(rng.uniform(0, 700, n)), rng.normal(15, 0.3, n), rng.uniform(0.01, 0.1, n)
    work, shares = np.empty((7, n)), np.empty(harmonic_fit.HARMONICS + 1)
    harmonic_fit.prepare(t, m, e, work)
    harmonic_fit.harmonic_shares(work, n, f, shares)
    # a direction whose variance is below NO_VARIANCE is left out, by least squares only where it is exactly 0
    np.testing.assert_allclose(shares[1:], shares_by_least_squares(t, m, e, f), atol=1e-7)


def test_relations_are_told_apart():
    t = nightly(np.random.default_rng(1), 200)
    f = 1.7449
    peaks = np.array([[f, 2 * f, f / 2, f / 3, f + 1.00273790935, f - 1.00273790935, 2.00547581870 - f, 0.31, np.nan]])
    got = aliases.alias_of(t, np.array([0, 200]), peaks, np.array([f]))
    assert got.kind[0].tolist() == [SAME, HARMONIC, HARMONIC, HARMONIC, ALIAS, ALIAS, ALIAS, UNRELATED, UNRELATED]
    assert [SAMPLING_NAMES[s] for s in got.sampling[0, 4:7]] == ["sidereal day", "sidereal day", "1/2 sidereal day"]
    assert (got.window[0, 4:7] > 0.5).all()
    assert np.isnan(got.window[0, :4]).all()


def test_without_a_window_there_is_no_alias():
    t = np.sort(np.random.default_rng(2).uniform(0, 900, 300))
    got = aliases.alias_of(t, np.array([0, 300]), np.array([[2.7]]), np.array([1.7]))
    assert got.kind[0, 0] == UNRELATED


def test_shape_decides_between_a_period_and_its_one_day_aliases():
    stars = [sawtooth(seed) for seed in range(12)]
    f = 1 / 0.5731
    wrong_first = [f + 1.00273790935, abs(f - 1.00273790935), f, 2.00547581870 - f]
    got = resolve(LightCurves.from_lists(stars), [wrong_first] * 12)
    assert (got.index == 2).sum() >= 11
    assert np.median(np.abs(got.frequency - f)) < 0.02 / 900
    right = got.index == 2
    assert (got.kind[right] == ALIAS).all()
    assert (got.score[right] > 0).all()
    assert (got.power[right] > 0.9).all()


def test_narrow_eclipses_are_fitted_by_a_box():
    rng = np.random.default_rng(3)
    t = nightly(rng, 400, 1500)
    e = np.full(400, 0.02)
    m = 14 + 0.5 * (t / 3.317 % 1.0 < 0.04) + 0.02 * rng.standard_normal(400)
    got = resolve(LightCurves.from_lists([(t, m, e)]), [[2.1, 1 / 3.317, 0.77, np.nan]])
    assert got.index[0] == 1
    assert got.n_harmonics[0] == 0
    assert got.score[0] > 50


def test_third_of_a_sinusoids_frequency_is_not_chosen():
    rng = np.random.default_rng(4)
    t = np.sort(rng.uniform(0, 3000, 250))
    m = 10 + np.sin(2 * np.pi * t / 220.0) + 0.1 * rng.standard_normal(250)
    got = resolve(LightCurves.from_lists([(t, m, np.full(250, 0.1))]), [[1 / 660.0, 1 / 220.0, 1 / 440.0]])
    assert got.index[0] == 1


def test_light_curves_do_not_depend_on_their_neighbours():
    stars = [sawtooth(seed, n) for seed, n in ((1, 40), (2, 200), (3, 90))]
    candidates = np.array([[1.1, 1.7449, 0.3]] * 3)
    together = resolve(LightCurves.from_lists(stars), candidates)
    for i, star in enumerate(stars):
        alone = resolve(LightCurves.from_lists([star]), candidates[:1])
        for one, every in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one[0], every[i])


def test_degenerate_light_curves_are_not_resolved():
    t, m, e = sawtooth(1, 30)
    nan = m.copy()
    nan[2] = np.nan
    lists = [(t[:0], m[:0], e[:0]), (t[:3], m[:3], e[:3]), (t, np.full(30, 2.0), e), (np.full(30, 1.0), m, e),
             (t, nan, e), (t, m, 0 * e), (t, m, e)]  # fmt: skip
    candidates = np.full((7, 2), 1.7449)
    candidates[6] = np.nan
    got = resolve(LightCurves.from_lists(lists), candidates)
    assert (got.index == -1).all()
    assert np.isnan(got.frequency).all()
    assert np.isnan(got.score).all()
    assert (got.kind == UNRELATED).all()


def test_no_candidates_give_no_choice():
    got = resolve(LightCurves.from_lists([sawtooth(1)]), np.empty((1, 0)))
    assert got.index.tolist() == [-1]
    assert np.isnan(got.frequency[0])


def test_agreement_counts_methods_modulo_harmonics_and_half_for_aliases():
    t = np.concatenate([nightly(np.random.default_rng(1), 200)] * 5)
    f = 1.7449
    day = 1.00273790935
    table = np.array(
        [
            [f, f, 2 * f],
            [f, f + day, 0.31],
            [f, np.nan, 0.31],
            [np.nan, np.nan, np.nan],
            [0.31, f, f],
        ]
    )
    got = aliases.agreement(t, np.arange(6) * 200, table)
    np.testing.assert_allclose(got, [1.0, 0.25, 0.0, np.nan, 0.5])
    assert np.isnan(aliases.agreement(t[:200], np.array([0, 200]), table[:1, :1])).all()
