"""Trees from tables that are read piece by piece: as in memory by one worker, as good by two."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from clusters import two_workers
from distributed import Client
from training_tables import labelled_table

from scope_dask.errors import OptionError, RunError, SchemaError, UsageError
from scope_dask.formats import write_table
from scope_dask.inference.manifest import read_manifest
from scope_dask.training import out_of_core
from scope_dask.training.fitting import TrainedModel, train
from scope_dask.training.labelled import class_labels, stars
from scope_dask.training.options import GridSearch, TrainingOptions
from scope_dask.training.out_of_core import train_out_of_core
from scope_dask.training.report import write_record

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
SEEN = ("skew", "wstd", "chi2red", "median", "iqr", "AllWISE__w1mpro", "AllWISE__w2mpro", "Gaia_EDR3__parallax")
OPTIONS = TrainingOptions(
    features=SEEN,
    num_boost_round=40,
    max_depth=4,
    scaling="min_max",
    imputation_of={
        "wstd": "none",
        "iqr": "mean",
        **dict.fromkeys(("AllWISE__w1mpro", "AllWISE__w2mpro", "Gaia_EDR3__parallax"), "regress"),
    },
)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with two_workers() as found:
        yield found


@pytest.fixture(scope="module")
def one() -> Iterator[Client]:
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as found:
        yield found


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Return 3000 rows in the order of ``_id``, with features missing here and there, all of them of some rows."""
    frame = labelled_table(stars=1500, seed=5)
    rng = np.random.default_rng(1)
    frame[list(SEEN)] = frame[list(SEEN)].mask(rng.random((len(frame), len(SEEN))) < 0.05)
    frame.loc[[10, 500, 2100], list(SEEN)] = np.nan
    frame.loc[[20, 21], "variable"] = np.nan
    return frame.sort_values("ztf_id", ignore_index=True)


@pytest.fixture(scope="module")
def folder(table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("table")
    for k, rows in enumerate(np.array_split(np.arange(len(table)), 3)):
        write_table(table.iloc[rows].reset_index(drop=True), root / f"part-{k}.parquet", {"fourier": "raw"})
    return root


def in_memory(table: pd.DataFrame, options: TrainingOptions = OPTIONS) -> TrainedModel:
    frame = table.rename(columns={"ztf_id": "_id"})
    labels = class_labels(frame, "variable", options.threshold)
    return train(frame, labels, "vnv", options, stars(frame))


def trained(folder: Path, client: Client, options: TrainingOptions = OPTIONS, **more: Any) -> TrainedModel:
    return train_out_of_core(folder, "variable", "vnv", options, client, **more)


def test_one_worker_makes_the_model_of_the_training_in_memory(table, folder, one) -> None:
    found, expected = trained(folder, one, batch_rows=700), in_memory(table)
    assert replace(found.manifest, sha256="", created="").to_json() == (
        replace(expected.manifest, sha256="", created="").to_json()
    )
    assert (
        json.loads(found.content)["learner"]["gradient_booster"]
        == (json.loads(expected.content)["learner"]["gradient_booster"])
    )
    assert found.manifest.counts["unused"] > 100
    assert found.manifest.metrics["test"]["roc_auc"] > 0.9


@pytest.mark.parametrize("changes", [{"balance": 1.2}, {"calibration": "sigmoid"}, {"weight_per_class": False}])
def test_options_have_the_effect_that_they_have_in_memory(table, folder, one, changes) -> None:
    options = replace(OPTIONS, num_boost_round=8, **changes)
    found, expected = trained(folder, one, options, batch_rows=1100), in_memory(table, options)
    assert found.manifest.counts == expected.manifest.counts
    assert found.manifest.calibration == expected.manifest.calibration
    features = table.rename(columns={"ztf_id": "_id"})
    np.testing.assert_array_equal(found.predict(features), expected.predict(features))


def test_two_workers_and_rows_in_any_order_are_as_good(table, client, tmp_path) -> None:
    shuffled = table.sample(frac=1.0, random_state=3, ignore_index=True)
    write_table(shuffled, tmp_path / "set.parquet")
    found, expected = trained(tmp_path / "set.parquet", client, batch_rows=500), in_memory(table)
    # Rows, imputation and scaling are equal; trees see another draw of rows, so that scores differ a little.
    assert found.manifest.preparation == expected.manifest.preparation
    assert found.manifest.counts == expected.manifest.counts
    for part in ("val", "test"):
        one, two = (model.manifest.metrics[part]["roc_auc"] for model in (found, expected))
        assert one == pytest.approx(two, abs=0.01)
    features = table.rename(columns={"ztf_id": "_id"})
    pair = np.stack([model.predict(features) for model in (found, expected)])
    pair = pair[:, ~np.isnan(pair).any(axis=0)]
    assert np.corrcoef(pair)[0, 1] > 0.98


def test_training_goes_on_from_a_model_and_leaves_a_record(folder, one, tmp_path) -> None:
    options = replace(OPTIONS, num_boost_round=5)
    first = trained(folder, one, options).save(tmp_path)
    second = trained(folder, one, replace(options, pre_trained_model=str(first)))
    before = read_manifest(first).parameters["rounds"]
    assert before < second.manifest.parameters["rounds"] <= before + 5
    record = write_record(second, tmp_path / "vnv" / "vnv.20260101_000000")
    found = json.loads((record / "test" / "vnv.20260101_000000_stats.json").read_text())
    assert found["roc_auc"] == pytest.approx(second.manifest.metrics["test"]["roc_auc"], abs=1e-12)


def test_reports_see_some_rows_of_a_large_table(folder, one, monkeypatch) -> None:
    monkeypatch.setattr(out_of_core, "REPORT_ROWS", 50)
    found = trained(folder, one, replace(OPTIONS, num_boost_round=3))
    assert found.sample is not None
    assert {part: len(rows) for part, rows in found.sample.parts.items()} == {"train": 50, "val": 50, "test": 50}
    assert found.manifest.counts["test"]["rows"] > 200


def test_what_cannot_be_trained_is_an_error(table, folder, one, tmp_path) -> None:
    with pytest.raises(OptionError, match="the search of parameters needs the table in memory"):
        trained(folder, one, replace(OPTIONS, search=GridSearch()))
    with pytest.raises(SchemaError, match=r"has no column 'skwe' \(did you mean 'skew'"):
        trained(folder, one, replace(OPTIONS, features=("skwe",)))
    write_table(table[["ztf_id", "obj_id", *SEEN]].assign(variable=0.0), tmp_path / "none.parquet")
    with pytest.raises(UsageError, match="the class 'vnv' has 0 members"):
        trained(tmp_path / "none.parquet", one)


def test_a_worker_that_ends_ends_the_training_with_a_sentence(folder, client) -> None:
    def kill_one() -> None:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and not all(list(Path(own).rglob("val*.page")) for own, _ in found.values()):
            time.sleep(0.05)
        os.kill(next(pid for _, pid in found.values()), signal.SIGKILL)

    found = client.run(lambda dask_worker: (dask_worker.local_directory, os.getpid()))
    assert len(found) == 2
    options = replace(OPTIONS, num_boost_round=100_000, early_stopping_rounds=100_000)
    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(RunError, match="a worker ended"):
        trained(folder, client, options, batch_rows=300)
    killer.join()
