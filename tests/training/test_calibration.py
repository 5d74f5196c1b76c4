"""Calibration: the curves against plain formulas, and calibrated models from training to scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit

from scope_dask.errors import OptionError, UsageError
from scope_dask.inference.calibration import Calibration
from scope_dask.inference.models import load_models, read_manifest
from scope_dask.inference.scores import scores
from scope_dask.training.calibration import fit_calibration
from scope_dask.training.fitting import cross_validate, train
from scope_dask.training.options import CalibrationMethod, TrainingOptions
from scope_dask.training.report import statistics

NAMES = ("skew", "wstd", "iqr")
METHODS: tuple[CalibrationMethod, ...] = ("sigmoid", "isotonic")
SMALL = TrainingOptions(features=NAMES, num_boost_round=30)


def shifted(n: int, seed: int, by: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and scores whose log-odds are too large, as those of a model with weighted members."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-2, 2, n)
    return (rng.random(n) < expit(odds)).astype(float), expit(1.5 * odds + by).astype(np.float32)


def test_sigmoid_is_the_best_one_by_platts_targets() -> None:
    y, score = shifted(300, 1)
    odds, members = logit(score.astype(float)), y.sum()
    target = np.where(y > 0, (members + 1) / (members + 2), 1 / (len(y) - members + 2))

    def loss(curve: np.ndarray) -> float:
        z = curve[0] * odds + curve[1]
        return float(np.sum(np.logaddexp(0, z) - target * z))

    best = minimize(loss, [1.0, 0.0], tol=1e-12).x
    found = fit_calibration(y, score, "sigmoid")
    # Both stop where the gradient of a sum of 300 terms is about 1e-6; the curvature is about 10.
    np.testing.assert_allclose([*found.x, *found.y], best, atol=1e-4)
    np.testing.assert_allclose(found.apply(score), expit(best[0] * odds + best[1]), atol=1e-4)


def test_isotonic_is_the_nearest_curve_that_does_not_fall() -> None:
    y, score = shifted(60, 2)
    order = np.argsort(score)
    means = np.array([[y[order][a : b + 1].mean() if a <= b else np.nan for b in range(60)] for a in range(60)])
    # Least squares under this condition (Robertson et al. 1988): max over beginnings of min over ends of the mean.
    expected = [max(min(means[a, i:]) for a in range(i + 1)) for i in range(60)]
    found = fit_calibration(y, score, "isotonic")
    np.testing.assert_allclose(found.apply(score[order]), expected, atol=1e-7)
    np.testing.assert_array_equal(found.apply(np.array([0.0, 1.0])), found.apply(score[order][[0, -1]]))


@pytest.mark.parametrize("method", METHODS)
def test_other_stars_are_calibrated(method: CalibrationMethod) -> None:
    found = fit_calibration(*shifted(4000, 3), method)
    y, score = shifted(20_000, 4)
    before, after = statistics(y, score), statistics(y, found.apply(score))
    assert before["calibration_error"] > 0.15
    assert after["calibration_error"] < 0.02
    assert after["brier"] < before["brier"]
    assert after["roc_auc"] == pytest.approx(before["roc_auc"], abs=0.005)
    assert (np.diff(found.apply(np.linspace(0, 1, 1001))) >= 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_score_is_calibrated_alone(method: CalibrationMethod) -> None:
    found = fit_calibration(*shifted(500, 5), method)
    score = np.concatenate([shifted(997, 6)[1], np.float32([0.0, 1.0, np.nan])])
    whole = found.apply(score)
    assert whole.dtype == np.float32
    assert np.isnan(whole).tolist() == np.isnan(score).tolist()
    for size in (1, 7, 64):
        parts = [found.apply(score[k : k + size]) for k in range(0, len(score), size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    again = Calibration.from_mapping(json.loads(json.dumps({"method": found.method, "x": found.x, "y": found.y})))
    assert again == found


def test_few_stars_told_apart_do_not_become_certain() -> None:
    y, score = np.repeat([0.0, 1.0], 8), np.repeat([0.02, 0.97], 8)
    low, high = fit_calibration(y, score, "sigmoid").apply(np.array([0.02, 0.97]))
    assert low == pytest.approx(1 / 10, abs=1e-3)
    assert high == pytest.approx(9 / 10, abs=1e-3)


@pytest.mark.parametrize("score", [np.full(40, 0.3), np.linspace(0.9, 0.1, 40)])
def test_scores_that_say_nothing_become_the_fraction_of_members(score: np.ndarray) -> None:
    y = (np.arange(40) >= 30).astype(float)
    found = fit_calibration(y, score, "sigmoid").apply(np.array([0.0, 0.3, 1.0]))
    np.testing.assert_allclose(found, np.mean([*np.full(10, 11 / 12), *np.full(30, 1 / 32)]), atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_members_alone(method: CalibrationMethod) -> None:
    found = fit_calibration(np.ones(5), np.linspace(0.2, 0.9, 5), method).apply(np.array([0.0, 0.5, 1.0]))
    assert (found > 0.5).all()


def table(n: int = 600) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(8)
    frame = pd.DataFrame(rng.normal(size=(n, 3)), columns=list(NAMES))
    frame.insert(0, "_id", 10**15 + np.arange(n))
    member = rng.random(n) < expit(2 * frame["skew"] - 2)
    return frame, pd.DataFrame({"_id": frame["_id"], "vnv": member.astype(float)})


@pytest.mark.parametrize("method", METHODS)
def test_a_calibrated_model_is_saved_and_scores_so(tmp_path: Path, method: CalibrationMethod) -> None:
    frame, labels = table()
    frame.loc[3, list(NAMES)] = np.nan
    plain = train(frame, labels, "vnv", SMALL)
    model = train(frame, labels, "vnv", TrainingOptions(features=NAMES, num_boost_round=30, calibration=method))
    assert model.content == plain.content
    assert plain.manifest.calibration is None
    known = model.manifest.calibration
    assert known is not None
    np.testing.assert_array_equal(model.predict(frame), known.apply(plain.predict(frame)))
    assert not np.array_equal(model.predict(frame), plain.predict(frame), equal_nan=True)
    path = model.save(tmp_path)
    assert read_manifest(path).calibration == known
    np.testing.assert_array_equal(scores(frame, load_models(path))["vnv_xgb"], model.predict(frame))
    assert model.manifest.metrics["val"]["true_positives"] >= 0


def test_a_manifest_from_before_calibration_is_read(tmp_path: Path) -> None:
    frame, labels = table(100)
    path = train(frame, labels, "vnv", SMALL).save(tmp_path)
    expected = load_models(path)
    beside = path.with_suffix(".manifest.json")
    content = json.loads(beside.read_text()) | {"format": 2}
    del content["calibration"]
    beside.write_text(json.dumps(content))
    assert load_models(path) == expected


def test_cross_validated_scores_are_calibrated() -> None:
    frame, labels = table()
    y = labels["vnv"].to_numpy()
    errors = []
    for method in ("none", "sigmoid"):
        options = TrainingOptions(features=NAMES, num_boost_round=30, val_size=0.3, calibration=method)
        errors.append(statistics(y, cross_validate(frame, labels, options=options)["vnv"].to_numpy()))
    assert errors[1]["calibration_error"] < errors[0]["calibration_error"] / 2


def test_what_cannot_be_used() -> None:
    with pytest.raises(OptionError, match=r"calibration is 'sigmoidal' \(did you mean 'sigmoid'\?\)"):
        TrainingOptions(calibration="sigmoidal")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="none of the stars for the calibration has a score"):
        fit_calibration(np.ones(2), np.full(2, np.nan), "sigmoid")
