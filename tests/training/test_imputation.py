"""Imputation: strategies against plain formulas, nearest donors against brute force, independence of the batch."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.impute import KNNImputer

from scope_dask.errors import OptionError, SchemaError
from scope_dask.inference.manifest import Manifest
from scope_dask.training.dataset import fit_preparation
from scope_dask.training.imputation import Imputation, fit_imputation
from scope_dask.training.neighbours import Neighbours
from scope_dask.training.options import TrainingOptions

NAMES = ("g", "r", "i", "w1", "parallax")
REGRESS = dict.fromkeys(NAMES, "regress")


def stars(rows: int, seed: int = 0, missing: float = 0.3) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return magnitudes of stars of various colours and distances, with missing ones, and without."""
    rng = np.random.default_rng(seed)
    colour, distance = rng.normal(size=(2, rows))
    full = pd.DataFrame({name: 15 + 3 * distance + (k - 2) * colour for k, name in enumerate(NAMES)})
    full["parallax"] = 10 ** (-0.6 * distance)
    full += rng.normal(0, 0.01, full.shape)
    gone = rng.uniform(size=full.shape) < missing
    gone[gone.all(axis=1), 0] = False
    return full.mask(gone), full


def brute_force(near: Neighbours, row: np.ndarray, column: int) -> float:
    """Return the mean over the nearest donors that have all that a row has, and the feature."""
    known = ~np.isnan(row)
    usable = near.donors[~np.isnan(near.donors[:, known]).any(axis=1) & ~np.isnan(near.donors[:, column])]
    assert len(usable) >= near.count
    scale = np.array(near.scale)[known]
    distance = (((usable[:, known] - row[known]) / scale) ** 2).sum(axis=1)
    return float(usable[np.argsort(distance, kind="stable")[: near.count], column].mean())


def test_strategies_against_plain_formulas() -> None:
    frame = pd.DataFrame(
        {
            "braai": [0.5, np.nan, np.inf, 0.25],
            "n_ztf_alerts": pd.array([3, None, 7, 1], dtype="Int64"),
            "error": np.array([0.1, np.nan, 0.4, 0.2], dtype=np.float32),
            "mag": [1.0, 2.0, np.nan, 6.0],
            "period": [1.0, 2.0, 3.0, np.nan],
            "other": [np.nan] * 4,
        }
    )
    strategies = {"braai": "Zero", "n_ztf_alerts": "ZERO", "error": "median", "mag": "mean", "period": "none"}
    fitted = fit_imputation(frame, strategies)
    done = fitted.apply(frame)
    assert done["braai"].tolist() == [0.5, 0.0, 0.0, 0.25]
    assert done["n_ztf_alerts"].tolist() == [3, 0, 7, 1]
    assert done["n_ztf_alerts"].dtype == "Int64"
    assert done["error"].dtype == np.float32
    np.testing.assert_array_equal(done["error"], np.array([0.1, 0.2, 0.4, 0.2], dtype=np.float32))
    assert done["mag"].tolist() == [1.0, 2.0, 3.0, 6.0]
    assert done["period"].isna().tolist() == [False, False, False, True]
    assert done["other"].isna().all()
    assert fitted.incomplete(frame).tolist() == [False, False, False, True]
    pd.testing.assert_frame_equal(fitted.complete(frame), done.iloc[:3])
    assert frame["braai"].isna().tolist() == [False, True, False, False]


def test_integers_become_real_numbers_only_where_they_must() -> None:
    frame = pd.DataFrame({"n": pd.array([1, 2, None], dtype="Int64")})
    fitted = fit_imputation(frame, {"n": "median"})
    assert fitted.apply(frame)["n"].tolist() == [1.0, 2.0, 1.5]
    assert fitted.apply(frame.iloc[:1])["n"].dtype == np.float64
    kept = fit_imputation(frame.iloc[1:], {"n": "median"}).apply(frame)["n"]
    assert kept.dtype == "Int64"
    assert kept.tolist() == [1, 2, 2]


def test_nearest_donors_against_brute_force() -> None:
    frame, _ = stars(400)
    fitted = fit_imputation(frame, REGRESS)
    done = fitted.apply(frame)
    assert done.notna().all(axis=None)
    near = fitted.neighbours
    assert near is not None
    values = frame.to_numpy()
    rows, columns = np.nonzero(np.isnan(values))
    expected = [brute_force(near, values[row], column) for row, column in zip(rows, columns, strict=True)]
    np.testing.assert_allclose(done.to_numpy()[rows, columns], expected, rtol=1e-13)
    np.testing.assert_array_equal(done.to_numpy()[~np.isnan(values)], values[~np.isnan(values)])


def test_complete_donors_give_what_scikit_learn_gives() -> None:
    _, donors = stars(300)
    frame, _ = stars(200, seed=1)
    fitted = fit_imputation(donors, REGRESS)
    near = fitted.neighbours
    assert near is not None
    offset, scale = np.array(near.offset), np.array(near.scale)
    reference = KNNImputer(n_neighbors=5).fit((donors.to_numpy() - offset) / scale)
    expected = reference.transform((frame.to_numpy() - offset) / scale) * scale + offset
    # Each value is scaled, averaged and scaled back: a few roundings of numbers up to 30.
    np.testing.assert_allclose(fitted.apply(frame).to_numpy(), expected, rtol=1e-12)


def test_scaling_keeps_the_unit_of_a_feature_out_of_the_result() -> None:
    frame, _ = stars(300)
    factors = [1.0, 1e6, 1e-6, 1.0, 1.0]
    done = fit_imputation(frame, REGRESS).apply(frame)
    other = fit_imputation(frame * factors, REGRESS, donors=10**6).apply(frame * factors)
    np.testing.assert_allclose(other / factors, done, rtol=1e-9)


def test_imputed_values_are_better_than_the_median() -> None:
    frame, full = stars(5000)
    done = fit_imputation(frame, REGRESS).apply(frame)
    gone = frame.isna()
    for name in NAMES[:4]:
        error = (done[name] - full[name])[gone[name]].std()
        assert error < full[name].std() / 3


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 60))
def test_result_depends_neither_on_order_nor_on_batch(seed: int, size: int) -> None:
    frame, _ = stars(120, seed % 7)
    strategies = {**REGRESS, "g": "median", "r": "mean"}
    fitted = fit_imputation(frame, strategies)
    done = fitted.apply(frame)
    order = np.random.default_rng(seed).permutation(len(frame))
    again = fit_imputation(frame.iloc[order], strategies)
    assert again == fitted
    parts = [again.apply(frame.iloc[order[k : k + size]]) for k in range(0, len(frame), size)]
    pd.testing.assert_frame_equal(pd.concat(parts).sort_index(), done, check_exact=True)


def test_state_as_json() -> None:
    frame, _ = stars(50)
    fitted = fit_imputation(frame, {**REGRESS, "g": "none", "r": "median"})
    again = Imputation.from_mapping(json.loads(json.dumps(fitted.to_mapping(), allow_nan=False)))
    assert again == fitted
    pd.testing.assert_frame_equal(again.apply(frame), fitted.apply(frame), check_exact=True)
    assert fit_imputation(frame, {"g": "zero"}).to_mapping()["neighbours"] is None


def test_each_feature_has_donors_however_rare_it_is() -> None:
    frame, _ = stars(3000, missing=0.0)
    frame.loc[5:, "w1"] = np.nan
    near = fit_imputation(frame, REGRESS, donors=20).neighbours
    assert near is not None
    assert np.sum(~np.isnan(near.donors), axis=0).tolist()[:4] >= [20, 20, 20, 5]
    assert len(near.donors) <= 25


def test_features_without_common_donors() -> None:
    """No donor has g and w1 together: the distance is then in r alone; of nothing it is the mean."""
    r = np.arange(20.0)
    frame = pd.DataFrame({"g": np.where(r < 10, r, np.nan), "r": r, "w1": np.where(r >= 10, 100 + r, np.nan)})
    frame = pd.concat([frame, pd.DataFrame({"g": [np.nan], "r": [np.nan], "w1": [np.nan]})], ignore_index=True)
    done = fit_imputation(frame, dict.fromkeys(frame.columns, "regress")).apply(frame)
    assert done["w1"][3] == np.mean(100 + r[10:15])
    assert done["g"][15] == np.mean(r[5:10])
    assert done["w1"][20] == np.mean(100 + r[10:])


def test_what_no_row_has_stays_missing() -> None:
    frame, _ = stars(20)
    frame = frame.assign(w1=np.nan, i=np.nan)
    fitted = fit_imputation(frame, {**REGRESS, "i": "median"})
    assert sorted(fitted.unfitted) == ["i", "w1"]
    done = fitted.apply(frame)
    assert done[["i", "w1"]].isna().all(axis=None)
    assert done[["g", "r", "parallax"]].notna().all(axis=None)
    assert fit_imputation(frame.iloc[:0], {"g": "regress", "r": "mean"}).unfitted == ("r", "g")


def test_constant_feature_is_no_division_by_zero() -> None:
    frame = pd.DataFrame({"g": [1.0] * 10, "r": np.arange(10.0)})
    frame.loc[3, "r"] = np.nan
    done = fit_imputation(frame, {"g": "regress", "r": "regress"}).apply(frame)
    assert 0 <= done["r"][3] <= 9


def test_what_cannot_be_used() -> None:
    frame, _ = stars(10)
    with pytest.raises(OptionError, match=r"the imputation of g is 'medium' \(did you mean 'median'\?\)"):
        fit_imputation(frame, {"g": "medium"})
    with pytest.raises(SchemaError, match="imputation: the reference needs the column u"):
        fit_imputation(frame, {"u": "mean"})
    with pytest.raises(SchemaError, match="imputation needs the column g"):
        fit_imputation(frame, REGRESS).apply(frame.drop(columns="g"))
    with pytest.raises(SchemaError, match="imputation needs the column u"):
        fit_imputation(frame, {"u": "none"}).incomplete(frame)


def test_models_impute_by_their_own_neighbours() -> None:
    frame, _ = stars(300)
    values = frame.to_numpy()
    strategies = {**REGRESS, "g": "median"}
    options = TrainingOptions(imputation_of=strategies, scaling="min_max")
    preparation = fit_preparation(values, NAMES, options)
    done = fit_imputation(frame, strategies).apply(frame).to_numpy()
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    np.testing.assert_array_equal(preparation.apply(values), ((done - low) / (high - low)).astype(np.float32))
    what = {"parameters": {}, "counts": {}, "metrics": {}, "versions": {}, "sha256": "", "created": ""}
    manifest = Manifest("agn", "xgb", preparation, 0.7, None, "raw", "", **what)
    again = Manifest.from_json(manifest.to_json(), "here").preparation
    assert again == preparation
    np.testing.assert_array_equal(again.apply(values), preparation.apply(values))
