"""The local record of a training: statistics, figures, importance, and the comparison of a group."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scope_dask.errors import SourceError, UsageError
from scope_dask.training import comparison, figures, report
from scope_dask.training.fitting import TrainedModel, train
from scope_dask.training.options import RecordOptions, TrainingOptions

PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(300, 3)), columns=["a", "b", "c"])
    frame["_id"] = np.arange(300)
    member = rng.random(300) < 0.4
    frame["b"] += 4.0 * member
    labels = pd.Series(member.astype(float), frame.index, name="vnv")
    return train(frame, labels, "vnv", TrainingOptions(features=("a", "b", "c")))


def test_statistics_agree_with_scikit_learn() -> None:
    from sklearn import metrics

    rng = np.random.default_rng(4)
    y = (rng.random(500) < 0.3).astype(float)
    score = np.clip(0.3 * y + rng.random(500), 0, 1).astype("f4")
    found = report.statistics(y, score)
    chosen = score >= 0.5
    assert found["f1_score"] == pytest.approx(metrics.f1_score(y, chosen))
    assert found["precision"] == pytest.approx(metrics.precision_score(y, chosen))
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(y, score))
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(y, score))
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(y, score.astype(float)))
    edges = np.linspace(0, 1, 11)
    expected = 0.0
    for low, high in itertools.pairwise(edges):
        own = (score >= np.float64(low)) & ((score < np.float64(high)) | (high == 1.0))
        if own.any():
            expected += own.mean() * abs(score[own].astype(float).mean() - y[own].mean())
    assert found["calibration_error"] == pytest.approx(expected, rel=1e-6)


def test_statistics_without_members_are_undefined_not_wrong() -> None:
    found = report.statistics(np.zeros(3), np.array([0.1, 0.2, 0.3], "f4"))
    assert found["roc_auc"] is found["average_precision"] is found["recall"] is None
    json.dumps(found, allow_nan=False)


def test_a_record_has_statistics_and_figures_of_every_part(trained, tmp_path) -> None:
    folder = report.write_record(trained, tmp_path / "vnv.20260101_000000", RecordOptions(context={"group": "g"}))
    name = "vnv.20260101_000000"
    for part in ("train", "val", "test"):
        stats = json.loads((folder / part / f"{name}_stats.json").read_text())
        y, score = report.scored(trained, part)
        assert stats["true_positives"] + stats["false_negatives"] == y.sum()
        if part != "train":
            assert stats["f1_score"] == trained.manifest.metrics[part]["f1"]
            assert stats["roc_auc"] == trained.manifest.metrics[part]["roc_auc"]
        assert sum(stats["calibration"]["rows"]) == len(score)
        for figure in ("cm", "roc", "recall", "calibration"):
            assert (folder / part / f"{name}_{figure}.png").read_bytes().startswith(PNG)
    assert next(iter(json.loads((folder / f"{name}_impvars.json").read_text()))) == "b"
    record = json.loads((folder / f"{name}_record.json").read_text())
    assert (record["tag"], record["group"], record["counts"]) == ("vnv", "g", trained.manifest.counts)
    assert not list(folder.rglob("*.pdf"))


def test_figures_as_pdf_and_the_trees_as_text(trained, tmp_path) -> None:
    folder = report.write_record(trained, tmp_path / "vnv.1", RecordOptions(pdf=True, model=True))
    assert {p.name for p in (folder / "val").glob("*.pdf")} == {
        f"vnv.1_{figure}.pdf" for figure in ("cm", "roc", "recall", "calibration")
    }
    text = (folder / "vnv.1_model.txt").read_text()
    assert text.startswith("tree 0\n")
    assert text.count("tree ") == trained.manifest.parameters["rounds"]


def test_without_matplotlib_there_are_numbers_and_figures_that_were_asked_for_are_an_error(
    trained, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(figures, "can_draw", lambda: False)
    folder = report.write_record(trained, tmp_path / "vnv.2")
    assert len(list(folder.rglob("*_stats.json"))) == 3
    assert not list(folder.rglob("*.png"))
    with pytest.raises(UsageError, match=r"figures need matplotlib: pip install 'scope_dask\[plot\]'"):
        report.write_record(trained, tmp_path / "vnv.3", RecordOptions(pdf=True))
    assert "matplotlib is not installed" in comparison.page("g", "val", _records(tmp_path, 1))


def _records(root: Path, n: int, f1: float = 0.5) -> list[comparison.Record]:
    stats = {"true_positives": 3, "false_negatives": 1, "true_negatives": 5, "false_positives": 1, "f1_score": f1}
    folder = root / "nowhere"
    return [comparison.Record(folder, "vnv", f"2026010{k}_000000", "xgb", stats) for k in range(1, n + 1)]


def test_trainings_of_a_class_are_summed_up_with_the_newest_one(tmp_path) -> None:
    first, second = (_records(tmp_path, 2)[k] for k in (0, 1))
    second.stats.clear()
    second.stats.update({**_records(tmp_path, 1, 0.7)[0].stats})
    first = comparison.Record(first.folder, "vnv", first.stamp, "xgb", {**first.stats, "f1_score": 0.5})
    row = comparison.statistics_table([second, first]).iloc[0]
    assert (row["model"], row["f1_score"], row["trainings"]) == ("vnv.20260102_000000", 0.7, 2)
    assert row["f1_mean"] == pytest.approx(0.6)
    assert row["f1_std"] == pytest.approx(0.2 / 2**0.5)
    assert (row["rows"], row["members"]) == (10, 4)
    assert comparison.plain(comparison.statistics_table([first]))[0]["f1_std"] is None


def test_the_page_compares_algorithms_and_shows_the_figures(trained, tmp_path) -> None:
    for kind in ("xgb", "dnn"):
        report.write_record(trained, tmp_path / kind / "vnv" / "vnv.20260101_000000")
    found = [r for kind in ("xgb", "dnn") for r in comparison.records(tmp_path / kind, kind, "test")]
    text = comparison.page("experiment", "test", found)
    assert text.count("data:image/png") == 1 + 2 * 5
    assert "mean F1 of dnn" in text
    assert "mean F1 of xgb" in text
    importance = comparison.importance_table(found)
    assert importance.index[0] == "b"
    assert importance.columns.tolist() == ["vnv"]


def test_a_broken_record_is_named(trained, tmp_path) -> None:
    path = tmp_path / "vnv" / "vnv.20260101_000000_plots" / "val" / "vnv.20260101_000000_stats.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(SourceError, match=r"vnv\.20260101_000000_stats\.json cannot be read as JSON"):
        comparison.records(tmp_path, "xgb", "val")
    assert comparison.records(tmp_path, "xgb", "test") == []
