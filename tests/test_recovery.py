"""Period recovery: matches of hand-made cases, tables, fractions, and astropy's Lomb-Scargle."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scope_dask.demo.recovery import (
    NESTED_PERIOD,
    OUTCOMES,
    RATIOS,
    astropy_periods,
    fractions,
    match_periods,
    recovery_table,
)
from scope_dask.errors import SchemaError, UsageError
from scope_dask.periods.options import PeriodOptions
from scope_dask.ragged import LightCurves

BASELINE = 1000.0


@pytest.mark.parametrize(
    ("found", "true", "expected"),
    [
        (0.7, 0.7, "P"),
        (0.35, 0.7, "P/2"),
        (1.4, 0.7, "2P"),
        (0.7 * 1.0049, 0.7, "P"),
        (0.7 * 1.006, 0.7, "missed"),
        (0.35 * 1.0049, 0.7, "P/2"),
        (1 / (1 / 0.7 + 1), 0.7, "alias"),
        (1 / (1 / 0.7 - 1), 0.7, "alias"),
        (1 / (1 - 1 / 2.7), 2.7, "alias"),
        (np.nan, 0.7, "missed"),
        (0.7 / 3, 0.7, "missed"),
        (2.1, 0.7, "missed"),
    ],
)
def test_match(found: float, true: float, expected: str) -> None:
    assert match_periods([found], [true], [BASELINE]).tolist() == [expected]


def test_long_periods_match_within_the_width_of_a_peak() -> None:
    frequency, width = 1 / 300.0, 1.5 / BASELINE
    found = [1 / (frequency + 0.99 * width), 1 / (frequency - 0.99 * width), 1 / (frequency + 1.01 * width)]
    # The last is 0.0018/d below the frequency of P/2 and 0.0032/d above that of 2P.
    assert match_periods(found, [300.0] * 3, [BASELINE] * 3).tolist() == ["P", "P", "missed"]


def test_the_period_itself_counts_before_its_half_and_double() -> None:
    # With 300 days of data the windows of P and 2P of a 200-day period overlap at 1/300 d.
    assert match_periods([300.0], [200.0], [300.0]).tolist() == ["P"]


def test_match_is_symmetric_in_frequency_and_keeps_the_shape() -> None:
    assert match_periods(np.full(4, np.nan), np.full(4, 1.0), np.full(4, BASELINE)).tolist() == ["missed"] * 4
    assert match_periods([], [], []).shape == (0,)


@pytest.fixture
def features() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "_id": [5, 1, 2, 3, 4, 6],
            "n": [300.0, 50.0, 49.0, 80.0, 90.0, 70.0],
            NESTED_PERIOD: [0.7, 0.35, 0.7, np.nan, 0.9, 0.5],
        }
    )


@pytest.fixture
def truth() -> pd.DataFrame:
    # 7 has no features, 6 no truth, 4 no period.
    return pd.DataFrame(
        {
            "_id": [1, 2, 3, 4, 5, 7],
            "survey": ["A", "A", "A", "B", "B", "B"],
            "class_label": ["EW", "EW", "EA", "EA", "EW", "EW"],
            "period_days": [0.7, 0.7, 0.7, np.nan, 0.7, 0.7],
        }
    )


def test_table_keeps_known_periods_of_enough_points(features: pd.DataFrame, truth: pd.DataFrame) -> None:
    table = recovery_table(features, truth, np.arange(6) + BASELINE)
    assert table["_id"].tolist() == [5, 1, 3]
    assert table["match"].tolist() == ["P", "P/2", "missed"]
    assert table["baseline_days"].tolist() == [1000.0, 1001.0, 1003.0]
    assert table.columns.tolist() == [
        "_id",
        "survey",
        "class_label",
        "n",
        "baseline_days",
        "period_days",
        "found_days",
        "match",
    ]


def test_baselines_are_matched_by_id(features: pd.DataFrame, truth: pd.DataFrame) -> None:
    by_id = pd.Series(np.arange(6) + BASELINE, index=pd.Index(features["_id"])).sample(frac=1, random_state=1)
    table = recovery_table(features, truth.drop(columns="survey"), by_id)
    assert table["baseline_days"].tolist() == [1000.0, 1001.0, 1003.0]
    assert "survey" not in table


def test_fractions_by_group_and_of_all(features: pd.DataFrame, truth: pd.DataFrame) -> None:
    table = recovery_table(features, truth, np.full(6, BASELINE))
    shares = fractions(table, ["survey", "class_label"])
    assert shares[["survey", "class_label", "light curves"]].to_numpy().tolist() == [
        ["A", "EA", 1],
        ["A", "EW", 1],
        ["B", "EW", 1],
        ["all", "", 3],
    ]
    assert shares["recovered"].tolist() == [0.0, 1.0, 1.0, pytest.approx(2 / 3)]
    assert shares[list(OUTCOMES)].sum(axis=1).to_numpy() == pytest.approx(np.ones(4))
    assert shares["recovered"].to_numpy() == pytest.approx(shares[list(RATIOS)].sum(axis=1).to_numpy())


def test_nothing_to_compare(features: pd.DataFrame, truth: pd.DataFrame) -> None:
    table = recovery_table(features, truth.iloc[:0], np.full(6, BASELINE))
    assert len(table) == 0
    shares = fractions(table)
    assert shares["light curves"].tolist() == [0]
    assert np.isnan(shares["P"].iloc[0])


def test_errors(features: pd.DataFrame, truth: pd.DataFrame) -> None:
    with pytest.raises(SchemaError, match="period recovery needs the column period_LS"):
        recovery_table(features, truth, np.full(6, BASELINE), column="period_LS")
    with pytest.raises(SchemaError, match=r"period recovery \(truth\) needs the column period_days"):
        recovery_table(features, truth.drop(columns="period_days"), np.full(6, BASELINE))
    with pytest.raises(UsageError, match="there are 5 baselines for 6 light curves"):
        recovery_table(features, truth, np.full(5, BASELINE))


def test_astropy_finds_sinusoids() -> None:
    pytest.importorskip("nifty_ls", reason="nifty-ls is not installed")
    rng = np.random.default_rng(7)
    curves, periods = [], [0.31, 4.7]
    for period in periods:
        t = 2458000.0 + np.sort(rng.uniform(0, 300, 120))
        curves.append((t, 15 + 0.3 * np.sin(2 * np.pi * t / period), np.full(t.size, 0.02)))
    one_point = (np.array([2458000.0]), np.array([15.0]), np.array([0.1]))
    table = LightCurves.from_lists([curves[0], one_point, curves[1]])  # type: ignore[list-item]
    found = astropy_periods(table, PeriodOptions(max_freq=10.0))
    assert np.isnan(found[1])
    # Half a grid step, 1/(20 × 300 d), is the most that the nearest grid frequency is off; noise adds nothing here.
    assert 1 / found[[0, 2]] == pytest.approx(1 / np.array(periods), abs=1 / (10 * 300))


def test_astropy_needs_nifty_ls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scope_dask.demo.recovery.astropy_available", lambda: False)
    with pytest.raises(UsageError, match="pip install nifty-ls"):
        astropy_periods(LightCurves.from_lists([]))
