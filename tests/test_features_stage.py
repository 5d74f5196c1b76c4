"""The features stage as a whole: every row is there, whatever its light curve and its neighbours are like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from curve_tables import Curve, curve_table, observed
from hypothesis import given, settings

from scope_dask import tally
from scope_dask.conditioning.lightcurves import lightcurves
from scope_dask.errors import SchemaError
from scope_dask.extraction.features import FEATURES_STAGE, FeatureOptions, features
from scope_dask.extraction.fourier import documented, fourier
from scope_dask.periods.options import PeriodOptions
from scope_dask.ragged import LightCurves
from scope_dask.schema import FOURIER, STATISTICS
from scope_dask.simulate import SimulationOptions, simulate_sources

SHORT = FeatureOptions(periods=PeriodOptions(max_freq=3.0, top_n_periods=5))
NESTED = ("ELS", "ECE", "ELS_ECE_EAOV")


def changed(curve: Curve, **columns: Any) -> Curve:
    """Return a light curve with points changed: ``mag={3: nan}``."""
    names = ("hjd", "mag", "magerr")
    out = [np.array(values) for values in curve]
    for name, points in columns.items():
        for point, value in points.items():
            out[names.index(name)][point] = value
    return tuple(out)


def cut(curve: Curve, n: int) -> Curve:
    return tuple(values[:n] for values in curve)


USUAL = observed(40)
CONSTANT = (USUAL[0], np.full(40, 17.0), USUAL[2])

# light curve, reason it is set aside for, whether its statistics are there
EDGES = {
    "no points": (cut(USUAL, 0), "fewer than 4 points", False),
    "one point": (cut(USUAL, 1), "fewer than 4 points", False),
    "three points": (cut(USUAL, 3), "fewer than 4 points", False),
    "four points": (cut(USUAL, 4), "no period by ELS_ECE_EAOV", True),
    "twenty points": (cut(USUAL, 20), "no period by ELS_ECE_EAOV", True),
    "twenty-one points": (cut(USUAL, 21), None, True),
    "NaN time": (changed(USUAL, hjd={5: np.nan}), "a time, magnitude or error is not finite", False),
    "NaN magnitude": (changed(USUAL, mag={5: np.nan}), "a time, magnitude or error is not finite", False),
    "infinite error": (changed(USUAL, magerr={0: np.inf}), "a time, magnitude or error is not finite", False),
    "zero error": (changed(USUAL, magerr={39: 0.0}), "an error is not positive", False),
    "constant": (CONSTANT, "constant magnitude: no period", True),
    "equal times": (changed(USUAL, hjd=dict.fromkeys(range(40), USUAL[0][0])), "all times equal: no period", True),
    "duplicate times": (changed(USUAL, hjd={6: USUAL[0][5], 7: USUAL[0][5]}), None, True),
}


def values(frame: pd.DataFrame) -> np.ndarray:
    """Return all numbers of a features table, dmdt included, one row a light curve."""
    plain = frame.drop(columns="dmdt").select_dtypes("number").to_numpy(dtype=np.float64)
    words = (
        frame.filter(like="relation_")
        .apply(lambda column: column.map(hash, na_action="ignore"))
        .to_numpy(dtype=np.float64)
    )
    return np.hstack([plain, words, np.array(frame["dmdt"].tolist(), dtype=np.float64).reshape(len(frame), 676)])


def assert_same(a: pd.DataFrame, b: pd.DataFrame) -> None:
    assert list(a.columns) == list(b.columns)
    assert dict(a.dtypes) == dict(b.dtypes)
    np.testing.assert_array_equal(values(a), values(b))


@pytest.fixture(scope="module")
def alone() -> dict[str, np.ndarray]:
    """The features of every edge case, each in a partition of its own."""
    return {name: values(features(curve_table([curve]), SHORT))[0, 7:] for name, (curve, _, _) in EDGES.items()}


@pytest.mark.parametrize("name", EDGES)
def test_every_edge_case_is_a_row(name: str) -> None:
    curve, reason, has_statistics = EDGES[name]
    out = features(curve_table([curve]), SHORT)
    assert len(out) == 1
    (entry,) = tally.history(out)
    assert entry["set_aside"] == ([(100, reason)] if reason else [])
    row = out.iloc[0]
    assert (row["ra"], row["_id"]) == (10.0, 100)
    if not has_statistics:
        assert np.isnan(values(out)[0, 7:]).all()
        return
    assert np.isfinite(row[[n for n in STATISTICS.names if n not in UNDEFINED.get(name, ())]].astype(float)).all()
    assert np.isfinite(np.array(row["dmdt"])).all()
    for algorithm in NESTED:
        without = reason is not None and reason.endswith((f" by {algorithm}", ": no period"))
        assert np.isnan(row[f"period_{algorithm}"]) == without
        assert np.isfinite(row[f"significance_{algorithm}"])
        assert row[f"pdot_{algorithm}"] == 0
        if without:
            assert row[f"significance_{algorithm}"] == 0
            assert np.isnan(row[[f"f1_{c}_{algorithm}" for c in FOURIER]].astype(float)).all()


# Statistics that divide by zero there.
UNDEFINED = {
    "constant": ("inv_vonneumannratio", "stetson_k"),
    "equal times": ("inv_vonneumannratio",),
    "duplicate times": ("inv_vonneumannratio",),
}


@settings(deadline=None, max_examples=15)
@given(st.permutations(list(EDGES)), st.integers(0, len(EDGES)))
def test_no_row_depends_on_its_neighbours(alone: dict[str, np.ndarray], order: list[str], count: int) -> None:
    names = order[:count]
    out = features(curve_table([EDGES[name][0] for name in names]), SHORT)
    assert list(out["_id"]) == list(range(100, 100 + count))
    for row, name in zip(values(out), names, strict=True):
        np.testing.assert_array_equal(row[7:], alone[name], err_msg=name)
    reasons = [(100 + i, EDGES[name][1]) for i, name in enumerate(names) if EDGES[name][1]]
    assert tally.history(out)[0]["set_aside"] == reasons


def test_empty_partition() -> None:
    out = features(curve_table([observed(5)]).iloc[:0], SHORT)
    assert len(out) == 0
    assert dict(out.dtypes) == dict(FEATURES_STAGE.meta(curve_table([observed(5)]), SHORT).dtypes)


@pytest.fixture(scope="module")
def simulated() -> pd.DataFrame:
    sources = simulate_sources(
        SimulationOptions(n_light_curves=42, light_curves_per_partition=42, n_points=(60, 80, 120), baseline_days=300.0)
    )
    return lightcurves(sources.compute(scheduler="synchronous"), min_n_lc_points=20)


@pytest.fixture(scope="module")
def whole(simulated: pd.DataFrame) -> pd.DataFrame:
    return features(simulated, SHORT)


@pytest.mark.parametrize("npartitions", [1, 3, 7])
def test_the_same_for_any_number_of_partitions(simulated: pd.DataFrame, whole: pd.DataFrame, npartitions: int) -> None:
    lazy = features(dd.from_pandas(simulated, npartitions=npartitions, sort=False), SHORT)
    assert lazy.npartitions == npartitions
    with dask.config.set(scheduler="synchronous"):
        out = lazy.compute()
    assert_same(out.reset_index(drop=True), whole)
    assert len(whole) > 30


def test_the_same_for_shuffled_rows(simulated: pd.DataFrame, whole: pd.DataFrame) -> None:
    order = np.random.default_rng(3).permutation(len(simulated))
    assert_same(features(simulated.iloc[order], SHORT), whole.iloc[order])


def test_the_same_for_shuffled_points(simulated: pd.DataFrame, whole: pd.DataFrame) -> None:
    order = np.random.default_rng(4).permutation
    shuffled = []
    for row in zip(simulated["hjd"], simulated["mag"], simulated["magerr"], strict=True):
        points = order(len(row[0]))
        shuffled.append(tuple(np.array(column)[points] for column in row))
    table = curve_table(shuffled, float_type=pa.float32())
    out = features(table, SHORT)
    scanned = [f"significance_{a}" for a in NESTED]  # mean and standard deviation of a scan in single precision
    np.testing.assert_allclose(out[scanned], whole[scanned], rtol=1e-5)
    differences = [
        f"period_refined_error_{a}" for a in NESTED
    ]  # of powers that differ by a few 1e-16 in second differences
    np.testing.assert_allclose(out[differences], whole[differences], rtol=1e-6)
    apart = [*scanned, *differences]
    out[apart] = whole[apart]
    np.testing.assert_allclose(values(out)[:, 7:], values(whole)[:, 7:], rtol=1e-9, atol=1e-12)


def test_the_same_for_any_width_of_the_lists(simulated: pd.DataFrame, whole: pd.DataFrame) -> None:
    large = simulated.copy()
    for name in ("hjd", "mag", "magerr"):
        large[name] = large[name].astype(pd.ArrowDtype(pa.large_list(pa.float64())))
    assert_same(features(large, SHORT), whole)


def test_parity_with_the_reference_from_raw_points(shared_data: Path) -> None:
    path = shared_data / "parity" / "reference_features.parquet"
    reference = pq.read_table(path).slice(0, 24).to_pandas()
    names = ("raw_t", "raw_m", "raw_e", "raw_flags")
    raw = curve_table(list(zip(*(reference[name] for name in names), strict=True)))
    out = features(lightcurves(raw, min_n_lc_points=20), SHORT)
    assert len(out) == 24
    for name in STATISTICS.names:
        tolerance = 5e-6 if name == "sw" else 1e-9
        np.testing.assert_allclose(out[name], reference[name], rtol=tolerance, err_msg=name)
    histograms = np.array(out["dmdt"].tolist())
    np.testing.assert_array_equal(histograms, np.stack(reference["dmdt"]).astype(np.float32))
    sinusoids = (reference["kind"] == "sinusoid") & (reference["true_period"] > 1 / 3)
    assert sinusoids.any()
    np.testing.assert_allclose(out["period_ELS_ECE_EAOV"][sinusoids], reference["true_period"][sinusoids], rtol=1e-3)


@pytest.mark.parametrize("contents", ["raw", "documented"])
def test_fourier_columns_are_those_at_the_period(simulated: pd.DataFrame, contents: Any) -> None:
    options = FeatureOptions(PeriodOptions(algorithms=("LS", "CE"), max_freq=3.0), fourier=contents)
    out = features(simulated, options)
    curves = LightCurves.from_frame(simulated)
    for algorithm in ("LS", "CE"):
        period = out[f"period_{algorithm}"].to_numpy()
        expected = fourier(curves.hjd, curves.mag, curves.magerr, curves.offsets, period)
        if contents == "documented":
            expected = documented(expected)
        got = out[[f"f1_{name}_{algorithm}" for name in FOURIER]].to_numpy()
        np.testing.assert_array_equal(got, expected)
        assert np.isfinite(period).all()


def test_contents_of_the_fourier_columns_differ_only_there(simulated: pd.DataFrame) -> None:
    raw, other = (features(simulated, FeatureOptions(SHORT.periods, kind)) for kind in ("raw", "documented"))  # type: ignore[arg-type]
    different = {c for c in raw.columns if not raw[c].equals(other[c])}
    first = {f"f1_{c}_{a}" for a in NESTED for c in ("power", "BIC", "a", "b")}
    assert different
    assert all(c.startswith("f1_") for c in different)
    assert not different & first


@pytest.mark.parametrize(
    "periods",
    [
        PeriodOptions(max_freq=3.0),
        PeriodOptions(max_freq=3.0, nested_full_aov=True),
        PeriodOptions(algorithms=("LS_CE_AOV",), max_freq=3.0),
        PeriodOptions(algorithms=("AOV", "LS", "EAOV"), max_freq=3.0, remove_terrestrial=True),
        PeriodOptions(max_freq=3.0, baseline_days=400.0),
    ],
)
def test_columns_are_those_declared(simulated: pd.DataFrame, periods: PeriodOptions) -> None:
    out = features(simulated.iloc[:3], FeatureOptions(periods))
    schema = periods.schema
    assert list(out.columns[7:]) == schema.names
    assert [out[c.name].dtype for c in schema] == [c.pandas_dtype for c in schema]


def test_one_grid_for_a_survey(simulated: pd.DataFrame) -> None:
    out = features(simulated, FeatureOptions(PeriodOptions(algorithms=("LS",), max_freq=3.0, baseline_days=365.25)))
    steps = (1 / out["period_LS"].to_numpy() - 2 / 365.25) * 3652.5
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)


def test_a_table_without_magnitudes_is_refused() -> None:
    with pytest.raises(
        SchemaError, match=r"stage 'features' needs the column mag .*; the table has _id.*: rename or add"
    ):
        features(curve_table([USUAL]).drop(columns="mag"))


def test_options_by_name() -> None:
    out = features(curve_table([USUAL]), periods=SHORT.periods)
    assert_same(out, features(curve_table([USUAL]), SHORT))
