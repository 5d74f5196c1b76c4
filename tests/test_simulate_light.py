"""The light of simulated stars, against independent statistics: draws, noise, flags, variations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scope_dask.ragged import LightCurves
from scope_dask.simulate import SimulationOptions, points, randomness, simulate_sources, truth

PERIODIC = ("RR Lyrae ab", "RR Lyrae c", "EA", "EW", "sinusoidal", "LPV")


def only(label: str, **options: object) -> SimulationOptions:
    """Options for stars of one class, without spoiled points."""
    defaults = {
        "class_fractions": {label: 1.0},
        "flagged_fraction": 0.0,
        "outlier_fraction": 0.0,
        "n_light_curves": 150,
    }
    return SimulationOptions(**(defaults | options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # known answers published with Random123 (philox 4x32, 10 rounds)
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([2**32 - 1] * 4, [2**32 - 1] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_known_answers(counter: list[int], key: list[int], words: str) -> None:
    result = randomness.philox(tuple(map(np.uint64, counter)), tuple(map(np.uint64, key)))
    assert " ".join(f"{int(word):08x}" for word in result) == words


def test_draws_are_uniform_and_differ_by_stream() -> None:
    numbers, key = np.arange(2000, dtype=np.uint64), (np.uint64(3), np.uint64(4))
    star, curve = (randomness.draws(key, numbers, stream, 3) for stream in (randomness.STAR, randomness.CURVE))
    for column in star.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    correlation = np.corrcoef(np.hstack([star, curve]).T) - np.eye(24)
    assert np.abs(correlation).max() < 5 / np.sqrt(len(numbers))


def test_scatter_of_constant_stars_is_their_error() -> None:
    curves = LightCurves.from_frame(simulate_sources(only("non-variable")).compute(scheduler="sync"))
    chi2, points_used = 0.0, 0
    for _, mag, error in (curves[i] for i in range(len(curves))):
        mean = np.average(mag, weights=error**-2)
        chi2 += (((mag - mean) / error) ** 2).sum()
        points_used += len(mag) - 1
    # variance of χ²: 2 per degree of freedom; float32 magnitudes add (1e-6/0.01)² only
    assert chi2 / points_used == pytest.approx(1, abs=5 * np.sqrt(2 / points_used))


def test_errors_grow_with_magnitude() -> None:
    curves = LightCurves.from_frame(simulate_sources(SimulationOptions()).partitions[0].compute(scheduler="sync"))
    for magnitude, low, high in ((14.5, 0.010, 0.015), (18, 0.02, 0.03), (20.5, 0.15, 0.22)):
        near = np.abs(curves.mag - magnitude) < 0.15
        assert low < np.median(curves.magerr[near]) < high


def test_flagged_points_are_bad() -> None:
    options = only("non-variable", flagged_fraction=0.03, magnitudes=(14, 17))
    frame, known = (t.compute(scheduler="sync") for t in (simulate_sources(options), truth(options)))
    curves, flags = LightCurves.from_frame(frame), np.concatenate(frame["catflags"].to_list())
    off = np.abs(curves.mag - np.repeat(known["mean_mag"].to_numpy(), known["n_points"]))
    share = (flags != 0).mean()
    assert share == pytest.approx(0.03, abs=5 * np.sqrt(0.03 / len(flags)))
    assert set(flags) == {0, 256, 32768, 33024}
    assert off[flags != 0].min() > 0.3 - 6 * curves.magerr.max()
    assert (off[flags == 0] < 6.5 * curves.magerr[flags == 0]).all()


def test_outliers_are_rare_and_large() -> None:
    frame, known = (
        t.compute(scheduler="sync")
        for o in [only("non-variable", outlier_fraction=0.01)]
        for t in (simulate_sources(o), truth(o))
    )
    curves = LightCurves.from_frame(frame)
    off = np.abs(curves.mag - np.repeat(known["mean_mag"].to_numpy(), known["n_points"])) / curves.magerr
    # shifts uniform from 4 to 8 errors, plus unit noise: ∫ Φ(s − 4.5) ds / 4 = 0.826 of them; alone 7e-6
    assert (off > 4.5).mean() == pytest.approx(0.00826, abs=5 * np.sqrt(0.00826 / len(off)))


@pytest.mark.parametrize("label", PERIODIC)
def test_folding_at_the_true_period_orders_the_light_curve(label: str) -> None:
    options = only(label)
    frame, known = (t.compute(scheduler="sync") for t in (simulate_sources(options), truth(options)))
    curves, ratios, wrong = LightCurves.from_frame(frame), [], []
    assert (known["class_label"] == label).all()
    for i in np.flatnonzero(known["n_points"] > 100):
        hjd, mag, _ = curves[i]
        for period, kept in (
            (known["period_days"].iloc[i], ratios),
            (known["period_days"].iloc[i] * 1.37, wrong),
        ):
            rest = mag - pd.Series(mag).groupby(np.floor(hjd / period % 1 * 25)).transform("mean").to_numpy()
            kept.append(rest.var() / mag.var())
    assert np.median(ratios) < (0.4 if label == "EA" else 0.15)
    assert np.median(wrong) > 0.6


@pytest.mark.parametrize("label", ["RR Lyrae ab", "EW", "sinusoidal"])
def test_amplitudes_and_magnitudes_are_the_true_ones(label: str) -> None:
    options = only(label, magnitudes=(14, 17), n_points=(800, 800, 800), n_light_curves=45)
    frame, known = (t.compute(scheduler="sync") for t in (simulate_sources(options), truth(options)))
    curves = LightCurves.from_frame(frame)
    for i, amplitude in enumerate(known["amplitude_mag"]):
        mag = curves[i][1]
        low, high = np.percentile(mag, [0.5, 99.5])
        assert high - low == pytest.approx(amplitude, abs=0.1 * amplitude + 0.06)
        assert mag.mean() == pytest.approx(known["mean_mag"].iloc[i], abs=0.1 * amplitude + 0.01)


def test_irregular_stars_wander_as_their_amplitude_says() -> None:
    options = only("irregular", n_light_curves=600, n_points=(300, 300, 300))
    frame, known = (t.compute(scheduler="sync") for t in (simulate_sources(options), truth(options)))
    curves = LightCurves.from_frame(frame)
    means = np.repeat(known["mean_mag"].to_numpy(), known["n_points"])
    sigma = np.repeat(known["amplitude_mag"].to_numpy(), known["n_points"]) / np.sqrt(8)
    assert known["period_days"].isna().all()
    # a light curve's mean square has a variance of about 2 τ/T, 0.18 at most; five standard errors of 600
    assert np.mean(((curves.mag - means) ** 2 - curves.magerr**2) / sigma**2) == pytest.approx(1, abs=0.09)


def test_random_walk_step() -> None:
    assert points.next_step(0.7, 0.0, 5.0) == 0.7
    assert points.next_step(0.7, np.inf, 1.3) == 1.3
    assert points.next_step(1.0, np.log(2.0), 0.0) == pytest.approx(0.5)


unit = st.floats(0, 1)


@settings(deadline=None, max_examples=30)
@given(
    st.floats(0, 0.95),
    unit,
    st.floats(0, 0.3),
    st.floats(0.02, 0.12),
    unit,
    st.floats(0, 0.5),
    st.floats(-0.05, 0.05),
)
def test_shapes_have_unit_range_and_zero_mean(
    steepness: float,
    sharpness: float,
    inequality: float,
    width: float,
    ratio: float,
    flat: float,
    shift: float,
) -> None:
    phase = np.arange(20_000) / 20_000
    for shape, parameters in (
        (points.sawtooth, (steepness,)),
        (points.contact, (sharpness, inequality)),
        (points.eclipses, (width, ratio, flat, shift)),
    ):
        values = np.array([shape(x, *parameters) for x in phase])
        # the extremes and the integral are sampled every 5e-5 of a cycle, where a shape's slope is below 400
        assert np.ptp(values) == pytest.approx(1, abs=2e-3)
        assert values.mean() == pytest.approx(0, abs=1e-4)
        assert shape(0.3, *parameters) == pytest.approx(shape(7.3, *parameters), abs=1e-9)
