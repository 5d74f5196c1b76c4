"""The demonstration end to end on small fields: its page, its resuming, real light curves with and without labels."""

from __future__ import annotations

import base64
import contextlib
import io
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import yaml
from distributed import Client, LocalCluster

from scope_dask.demo import run, run_demo
from scope_dask.demo.curves import DRAWN_POINTS, reduced
from scope_dask.demo.folded import choose
from scope_dask.demo.labels import archive_labels, read_truth
from scope_dask.demo.results import Classification
from scope_dask.errors import SchemaError, UsageError
from scope_dask.html import Number, table
from scope_dask.simulate import SimulationOptions, simulate_sources, truth
from scope_dask.simulate.options import DEFAULT_FRACTIONS
from scope_dask.sources.archive import write_archive

SECTIONS = ["summary", "recovery", "confusion", "scores", "curves", "timings", "files"]
FIELD: dict[str, Any] = {
    "n_light_curves": 150,
    "light_curves_per_partition": 75,
    "n_points": [70, 80, 90],
    "baseline_days": 200,
    "flagged_fraction": 0.01,
    "class_fractions": dict.fromkeys(DEFAULT_FRACTIONS, 1 / len(DEFAULT_FRACTIONS)),
}


class Page(HTMLParser):
    """What a page holds."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "a":
            self.links.append(values["href"] or "")
        if tag == "img":
            self.images.append((values["alt"] or "", values["src"] or ""))
        if tag == "section":
            self.ids.append(values["id"] or "")
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def pictures(self) -> list[np.ndarray]:
        """Return the pixels of the images; every one must be a whole PNG that is part of the page."""
        head = "data:image/png;base64,"
        assert all(source.startswith(head) for _, source in self.images)
        contents = [base64.b64decode(source.removeprefix(head), validate=True) for _, source in self.images]
        return [matplotlib.image.imread(io.BytesIO(content), format="png") for content in contents]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def config(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A short configuration; runs use the cluster of these tests."""
    monkeypatch.setattr(run, "cluster_for", lambda *_: contextlib.nullcontext(client))
    return write_config(tmp_path / "config.yaml")


def write_config(path: Path) -> Path:
    content = {
        "out": "unused",
        "sources": {"simulate": FIELD},
        "features": {"periods": {"max_freq": 5.0, "samples_per_peak": 5}},
        "run": {"performance_report": False},
    }
    path.write_text(yaml.safe_dump(content))
    return path


def models_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "models").rglob("*.json"))}


def test_simulated_field(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    text = run_demo(out, config=config)
    page = Page(out / "report.html")
    assert page.ids == SECTIONS
    assert not page.open
    for address in page.links:
        found = address[1:] in page.ids if address.startswith("#") else (out / address).exists()
        assert found, address
    assert {"models", "run/features", "run/scores", "recovery.csv", "confusion.csv"} <= set(page.links)
    pictures = page.pictures()
    assert [alt.startswith("Light curve ") for alt, _ in page.images].count(True) == 12
    assert len(pictures) == 12 + 6
    assert all(picture.shape[1] == 1300 and picture.std() > 0.01 for picture in pictures)
    assert "known ones found" in text
    assert str(out / "report.html") in text
    assert "the models were trained on another field" in page.text.lower()
    features = pd.concat(run.read_table(p, ["_id"]) for p in (out / "run" / "features").rglob("*.parquet"))
    scores = run.read_table(out / "run" / "scores")
    assert sorted(features["_id"]) == sorted(scores["_id"])
    shares = pd.read_csv(out / "recovery.csv")
    assert shares["light curves"].iloc[-1] == shares["light curves"].iloc[:-1].sum()
    counts = pd.read_csv(out / "confusion.csv", index_col=0)
    assert counts.to_numpy().sum() == len(scores)

    before = models_of(out)
    assert len(before) == 2 * 8
    again = run_demo(out, config=config)
    assert models_of(out) == before
    assert "2 taken from an earlier run" in Page(out / "report.html").text
    same = [line for line in text.splitlines() if not line.startswith("took")]
    assert [line for line in again.splitlines() if not line.startswith("took")] == same


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of simulated light curves, without labels."""
    path = tmp_path_factory.mktemp("archive") / "curves"
    write_archive(simulate_sources(archive_options()), path)
    return path


def archive_options() -> SimulationOptions:
    fractions = {"RR Lyrae ab": 0.5, "EA": 0.25, "non-variable": 0.25}
    return SimulationOptions(**{**FIELD, "class_fractions": fractions, "field": 500, "seed": 9})


def test_archive_without_labels(config: Path, archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    text = run_demo(out, archive=archive, config=config)
    page = Page(out / "report.html")
    assert page.ids == SECTIONS
    assert "trained on simulated light curves" in text
    assert "trained on simulated light curves" in page.text
    assert "Nothing is known about the periods" in page.text
    assert len(page.pictures()) == 1 + 12 + 1
    assert not (out / "recovery.csv").exists()
    assert (out / "run" / "scores").is_dir()


def test_archive_with_labels(config: Path, archive: Path, tmp_path: Path) -> None:
    labels = truth(archive_options()).compute(scheduler="sync")
    labels["survey"] = np.where(labels["star_id"] % 2, "odd", "even")
    labelled = tmp_path / "labelled"
    shutil.copytree(archive, labelled)
    labels[["_id", "star_id", "survey", "class_label", "period_days"]].to_parquet(labelled / "truth.parquet")
    out = tmp_path / "demo"
    text = run_demo(out, archive=labelled, config=config)
    page = Page(out / "report.html")
    assert page.ids == SECTIONS
    assert "cross-validated by star" in text
    assert "five-fold cross-validation" in page.text
    assert "trained on simulated light curves" not in page.text
    shares = pd.read_csv(out / "recovery.csv")
    assert set(shares["survey"]) == {"odd", "even", "all"}
    assert not (out / "training").exists()
    counts = pd.read_csv(out / "confusion.csv", index_col=0).to_numpy()
    assert np.trace(counts) / counts.sum() > 0.9  # classes that differ so much are told apart


def test_truth_is_checked(tmp_path: Path) -> None:
    assert read_truth(tmp_path) is None
    pd.DataFrame({"_id": [1], "class_label": ["EA"]}).to_parquet(tmp_path / "truth.parquet")
    with pytest.raises(SchemaError, match=r"truth.parquet needs the column period_days"):
        read_truth(tmp_path / "ztf.parquet")


def test_labels_of_classes_with_enough_stars() -> None:
    known = pd.DataFrame(
        {
            "_id": np.arange(70),
            "star_id": [f"s{i // 2}" for i in range(70)],
            "class_label": ["RR ab"] * 30 + ["RR-ab"] * 30 + ["CV"] * 8 + [None] * 2,
            "period_days": 1.0,
        }
    )
    labels = archive_labels(known, pd.Series(np.arange(70)))
    assert labels is not None
    assert labels.classes == {"rr_ab": "RR ab", "rr_ab_": "RR-ab"}
    assert labels.table["_id"].tolist() == list(range(60))
    assert labels.table[["rr_ab", "rr_ab_"]].sum(axis=1).tolist() == [1.0] * 60
    assert archive_labels(known, pd.Series(np.arange(58))) is None  # 15 stars of one, 14 of the other


def test_missing_matplotlib_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"pip install 'scope_dask\[plot\]'"):
        run_demo(tmp_path)


def test_reduced_periodogram_keeps_its_peaks() -> None:
    rng = np.random.default_rng(3)
    frequency = np.arange(1, 100001) * 1e-3
    value = rng.random(frequency.size)
    for sign, extreme in ((False, value.max()), (True, value.min())):
        f, v = reduced(frequency, value, sign)
        assert len(f) <= DRAWN_POINTS
        assert (np.diff(f) > 0).all()
        assert extreme in v
        assert f[0] >= frequency[0]
        assert set(v) <= set(value)
    empty = np.empty(0)
    assert all(len(a) == 0 for a in reduced(empty, empty))


def test_light_curves_are_chosen_by_quantile_whatever_the_order() -> None:
    rng = np.random.default_rng(5)
    scores = pd.DataFrame({"_id": np.arange(40), "a": rng.random(40), "b": rng.random(40)})
    labels = pd.Series(["A"] * 21 + ["B"] * 19)
    chosen = choose(scores, labels, {"a": "A", "b": "B"}, 4)
    own = scores[labels == "A"].sort_values("a")["_id"].tolist()
    assert chosen[:2] == [own[18], own[10]]
    assert len(set(chosen)) == 4
    mixed = scores.sample(frac=1, random_state=1)
    assert choose(mixed, labels.loc[mixed.index], {"a": "A", "b": "B"}, 4) == chosen
    assert choose(scores.iloc[:1], labels.iloc[:1], {"a": "A", "b": "B"}, 4) == [0]


def test_classification_counts() -> None:
    scores = pd.DataFrame({"_id": range(4), "x": [0.9, 0.2, 0.6, 0.1], "y": [0.1, 0.3, 0.7, 0.8]})
    found = Classification(scores, pd.Series(["X", "X", "X", "Y"]), {"y": "Y", "x": "X"}, False)
    assert found.confusion().to_numpy().tolist() == [[1, 0], [2, 1]]
    assert found.accuracy == 0.5
    assert found.balanced_accuracy == pytest.approx((1 + 1 / 3) / 2)


def test_html_is_escaped_and_numbers_are_set_right() -> None:
    text = table(["a<b", "n"], [["<script>", Number("1.5")], ["&", 1000]])
    assert "<script>" not in text
    assert "a&lt;b" in text
    assert '<td class="n">1,000</td>' in text
