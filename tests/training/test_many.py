"""Many models side by side: as one by one, resumed, set aside, and with workers that are killed."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from distributed import Client
from training_tables import labelled_table, two_training_workers

from scope_dask.errors import SchemaError, UsageError
from scope_dask.inference.manifest import read_manifest
from scope_dask.training import figures
from scope_dask.training.fitting import TrainedModel, train
from scope_dask.training.many import JOURNAL, Outcome, Training, train_many
from scope_dask.training.mapped import write_mapped
from scope_dask.training.options import DNNOptions, GridSearch, ModelOptions, TrainingOptions

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
SEEN = ("skew", "wstd", "chi2red")
ONE = GridSearch((3,), (1.0,), (0.6,), (0.6,), (0.3,), n_folds=2)
TREES = TrainingOptions(features=SEEN, num_boost_round=15, scaling="min_max")
# Long enough to be killed in the middle.
LONG = replace(TREES, num_boost_round=4000, early_stopping_rounds=4000)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with two_training_workers() as found:
        yield found


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    frame = labelled_table(dmdt=True).rename(columns={"ztf_id": "_id"})
    frame.loc[5, "skew"] = np.nan
    return frame.sample(frac=1.0, random_state=1, ignore_index=True)


@pytest.fixture(scope="module")
def labels(table: pd.DataFrame) -> pd.DataFrame:
    found = table[["variable", "periodic", "flaring"]].set_axis(["vnv", "pnp", "fla"], axis=1)
    return found.assign(rare=np.where(table["obj_id"] == "ZTFJ0003", 1.0, 0.0))


def trainings(
    root: Path, *tags: str, states: tuple[int, ...] = (1, 2), options: ModelOptions = TREES
) -> list[Training]:
    own = [replace(options, random_state=state) for state in states]
    return [Training(tag, each, root) for tag in tags for each in own]


def run(table: pd.DataFrame, labels: pd.DataFrame, wanted: list[Training], client: Client | None) -> list[Outcome]:
    return train_many(table, labels, wanted, table["obj_id"], client)


def contents(outcomes: list[Outcome]) -> list[bytes]:
    assert [one.reason for one in outcomes] == [""] * len(outcomes)
    return [Path(f"{one.stem}.json").read_bytes() for one in outcomes]


def one_by_one(table: pd.DataFrame, labels: pd.DataFrame, wanted: list[Training]) -> list[TrainedModel]:
    return [train(table, labels[one.tag], one.tag, one.options, table["obj_id"]) for one in wanted]


def test_models_are_those_of_one_process_whatever_the_workers(table, labels, client, tmp_path, monkeypatch) -> None:
    two = trainings(tmp_path / "two", "vnv", "pnp") + trainings(
        tmp_path / "two", "fla", states=(3,), options=replace(TREES, search=ONE)
    )
    expected = one_by_one(table, labels, two)
    found = run(table, labels, two, client)
    assert contents(found) == [model.content for model in expected]
    for outcome, model in zip(found, expected, strict=True):
        manifest = read_manifest(Path(f"{outcome.stem}.json"))
        assert manifest.to_json() == replace(model.manifest, created=manifest.created).to_json()
        assert outcome.metrics["test"] == manifest.metrics["test"]
        assert not outcome.reused
    monkeypatch.setattr(figures, "can_draw", lambda: False)
    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0") as threads:
        one = [replace(training, root=tmp_path / "one") for training in two]
        assert contents(run(table, labels, one, threads)) == contents(found)
    assert len({one.stem for one in found}) == 5
    assert not (tmp_path / "two" / ".parts").exists()


def test_each_model_has_its_record_and_its_log(table, labels, client, tmp_path) -> None:
    (wanted,) = trainings(tmp_path, "vnv", states=(1,), options=replace(TREES, search=ONE))
    (found,) = run(table, labels, [wanted], client)
    log = Path(f"{found.stem}.log").read_text()
    assert re.search(
        r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d vnv xgb, random state 1: begun on .*, process \d+$", log, re.MULTILINE
    )
    assert "setting 1: {'max_depth': 3.0" in log
    assert re.search(r"test: \{'rows': \d+, 'members': \d+", log)
    assert re.search(r"done after [\d.]+ s\n$", log)
    record = json.loads(next(Path(f"{found.stem}_plots").glob("*_record.json")).read_text())
    assert (record["tag"], record["model"]) == ("vnv", str(found.stem))


def test_what_is_finished_is_not_trained_again(table, labels, client, tmp_path) -> None:
    wanted = trainings(tmp_path, "vnv", "pnp", states=(1,))
    first = run(table, labels, wanted, client)
    # Neither the order of the rows nor the threads matter, nor what else is trained.
    again = [replace(one, options=replace(one.options, n_jobs=2, dataset="other")) for one in reversed(wanted)]
    more = trainings(tmp_path, "fla", states=(1,))
    found = run(table[::-1].reset_index(drop=True), labels[::-1].reset_index(drop=True), again + more, client)
    assert [one.reused for one in found] == [True, True, False]
    assert [one.stem for one in found[:2]] == [one.stem for one in first[::-1]]
    assert found[1].metrics == first[0].metrics
    # Other labels of a class are another training of it; a model that is gone is trained again, under its name.
    other = labels.assign(vnv=labels["pnp"])
    Path(f"{first[1].stem}.json").unlink()
    found = run(table, other, wanted, client)
    assert [one.reused for one in found] == [False, False]
    assert found[0].stem != first[0].stem
    assert found[1].stem == first[1].stem
    # Another option is another model, the newer one.
    found = run(table, labels, trainings(tmp_path, "vnv", states=(1, 7)), client)
    assert [one.reused for one in found] == [True, False]
    assert found[1].stem.name > found[0].stem.name


def test_a_class_that_cannot_be_trained_does_not_stop_others(table, labels, client, tmp_path) -> None:
    seen = []
    wanted = [
        *trainings(tmp_path, "rare", "none", "vnv", states=(1,)),
        *trainings(tmp_path, "pnp", states=(1,), options=replace(TREES, features=("skew", "skwe"))),
    ]
    rare, none, vnv, pnp = train_many(table, labels, wanted, table["obj_id"], client, seen.append)
    assert rare.reason.startswith("the class 'rare' has 1 members (stars); at least 3 are needed")
    assert "Traceback" in Path(f"{rare.stem}.log").read_text()
    assert none.reason == "the training set has no labels of 'none'"
    assert pnp.reason == "the training set lacks skwe"
    assert not vnv.reason
    assert {str(one.training) for one in seen} == {str(one) for one in wanted}
    # With the labels it lacked it is trained, as the first that was asked for.
    (found,) = run(table, labels.assign(rare=labels["vnv"]), wanted[:1], client)
    assert not found.reason
    records = [json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines()]
    assert sum(record["ok"] for record in records) == 2


@contextlib.contextmanager
def killer(root: Path, tag: str, times: int) -> Iterator[list[int]]:
    """Kill the worker processes that train a class, so many times; yield their ids."""
    ended = threading.Event()
    killed: list[int] = []

    def watch() -> None:
        while not ended.wait(0.005) and len(killed) < times:
            for log in (root / tag).glob("*.log"):
                if (found := re.search(r"process (\d+)$", log.read_text(), re.MULTILINE)) and int(
                    found[1]
                ) not in killed:
                    killed.append(int(found[1]))
                    os.kill(killed[-1], signal.SIGKILL)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


def test_a_worker_that_is_killed_costs_nothing_but_time(table, labels, client, tmp_path) -> None:
    wanted = [*trainings(tmp_path, "vnv", states=(1,), options=LONG), *trainings(tmp_path, "pnp")]
    with killer(tmp_path, "vnv", 1) as killed:
        found = run(table, labels, wanted, client)
    assert len(killed) == 1
    assert contents(found) == [model.content for model in one_by_one(table, labels, wanted)]
    assert len(list(tmp_path.glob("*/*[0-9].json"))) == 3


def test_a_model_that_takes_every_worker_with_it_is_set_aside(table, labels, client, tmp_path) -> None:
    wanted = [*trainings(tmp_path, "vnv", states=(1,), options=LONG), *trainings(tmp_path, "pnp")]
    with killer(tmp_path, "vnv", 2) as killed:
        found = run(table, labels, wanted, client)
    assert len(killed) == 2
    assert found[0].reason == "its worker died while training it: out of memory, or killed"
    assert len(contents(found[1:])) == 2
    assert not list(tmp_path.glob("vnv/*.json"))
    (again,) = run(table, labels, wanted[:1], client)
    assert (again.reason, again.stem) == ("", found[0].stem)


def test_workers_share_the_pages_of_one_file(table, labels, tmp_path) -> None:
    mapped = write_mapped(table, SEEN, True, labels, table["obj_id"], tmp_path)
    found = mapped.read(["_id", "skew", "dmdt", "label vnv"])
    ordered = table.assign(vnv=labels["vnv"]).sort_values("_id")
    np.testing.assert_array_equal(found["skew"], ordered["skew"])
    np.testing.assert_array_equal(found["label vnv"], ordered["vnv"])
    for name in ("_id", "skew", "label vnv"):
        assert not found[name].to_numpy().flags.owndata
    assert found["dmdt"].array.__arrow_array__().chunk(0).flatten().to_numpy().flags.owndata is False
    # A file that an interrupted run has left is taken as it is, and no other table has its name.
    before = mapped.path.stat().st_mtime_ns
    assert write_mapped(table, SEEN, True, labels, table["obj_id"], tmp_path).path.stat().st_mtime_ns == before
    other = write_mapped(table.assign(skew=0.0), SEEN, True, labels, table["obj_id"], tmp_path)
    assert other.path != mapped.path
    assert {name for name in SEEN if other.digests[name] != mapped.digests[name]} == {"skew"}


def test_what_is_wrong_with_the_call_is_an_error(table, labels, tmp_path) -> None:
    with pytest.raises(UsageError, match="there is nothing to train"):
        run(table, labels, [], None)
    with pytest.raises(UsageError, match="vnv xgb, random state 1 is there twice"):
        run(table, labels, trainings(tmp_path, "vnv", "vnv", states=(1,)), None)
    with pytest.raises(SchemaError, match="expected every _id once"):
        run(table.assign(_id=1), labels, trainings(tmp_path, "vnv"), None)


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed (extra dnn)")
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_networks_that_share_a_process_are_those_of_one_by_one(table, labels, tmp_path, monkeypatch) -> None:
    options = DNNOptions(features=SEEN, epochs=2, batch_size=16)
    wanted = trainings(tmp_path, "vnv", options=options)
    expected = one_by_one(table, labels, wanted)
    monkeypatch.setattr(figures, "can_draw", lambda: False)
    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0") as threads:
        found = run(table, labels, wanted, threads)
    for outcome, model in zip(found, expected, strict=True):
        assert not outcome.reason
        manifest = read_manifest(Path(f"{outcome.stem}.keras"))
        assert manifest.metrics["history"] == model.manifest.metrics["history"]
        assert "epoch 2: loss" in Path(f"{outcome.stem}.log").read_text()
