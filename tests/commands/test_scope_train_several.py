"""scope-train of several models: options, one reading of the table, classes set aside, and runs that are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import yaml
from distributed import Client
from processes import started
from training_tables import two_training_workers, write_labelled

from scope_dask.commands import scope_train
from scope_dask.formats import read_table, write_table
from scope_dask.inference.manifest import read_manifest
from scope_dask.inference.models import load_models
from scope_dask.training import labelled
from scope_dask.training.many import JOURNAL

CLASSES = {
    "vnv": {"label": "variable", "features": "phenomenological"},
    "pnp": {"label": "periodic", "features": "phenomenological", "threshold": 0.5},
    "odd": {"label": "strange", "features": "phenomenological"},
}
TREES = {"eta": [0.3], "num_boost_round": 10}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with two_training_workers() as found:
        yield found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scope_dask.training.tracking.Tracking.available", False)
    content = {"training": {"classes": CLASSES, "xgboost": {"other_training_params": TREES}}}
    Path("config.yaml").write_text(yaml.safe_dump(content))
    write_labelled(Path("set.parquet"))
    return tmp_path


def run(line: str, client: Client | None = None, code: int = 0) -> None:
    words = ["--path-dataset", "set.parquet", "--algorithm", "xgb", "--skip-cv", *line.split()]
    if client is not None:
        words += ["--cluster", client.scheduler.address]
    if code == 2:
        with pytest.raises(SystemExit, match=r"^2$"):
            scope_train.main(words)
    else:
        assert scope_train.main(words) == code


def test_classes_and_random_states_side_by_side(place, client, capsys, monkeypatch) -> None:
    reads = []
    read = labelled.read_labelled
    monkeypatch.setattr(labelled, "read_labelled", lambda *a: reads.append(a) or read(*a))
    run("--tags vnv pnp --random-states 1 2 --save --group mine", client)
    said = capsys.readouterr().out
    assert "4 models on 120 rows of set.parquet" in said
    assert "4 models trained, 0 were there, 0 set aside" in said
    assert "pnp xgb, random state 2: precision" in said
    assert len(reads) == 1
    models = load_models("models_xgb/mine")
    assert models.columns == ["pnp_xgb", "vnv_xgb"]
    # Of a class the newest model is that of the last random state, and all have their own files.
    pnp = read_manifest(Path(models.models[0].path))
    assert (pnp.parameters["random_state"], pnp.threshold, pnp.fourier, pnp.dataset) == (2, 0.5, "raw", "set.parquet")
    assert len(list(Path("models_xgb/mine").glob("*/*.params"))) == 4
    # The same model as that of one class alone.
    run("--tag pnp --random-state 2 --save --group alone")
    (alone,) = Path("models_xgb/alone/pnp").glob("*[0-9].json")
    assert alone.read_bytes() == Path(models.models[0].path).read_bytes()
    run("--tags pnp vnv --random-states 2 3 --save --group mine", client)
    assert "2 models trained, 2 were there, 0 set aside" in capsys.readouterr().out


def test_all_classes_and_what_is_set_aside(place, client, capsys) -> None:
    run("--tags all", client, code=1)
    said = capsys.readouterr()
    assert "2 models trained, 0 were there, 0 set aside" in said.out
    assert "odd xgb is set aside: the training set has no column 'strange'" in said.err
    # Without --save there are only the records, and they count as done.
    assert not list(Path("models_xgb").rglob("*.params"))
    assert len(list(Path("models_xgb").rglob("*_record.json"))) == 2
    run("--tags vnv --verbose 0", client)
    assert capsys.readouterr().out == ""
    # Labels that are no numbers are told of, too.
    write_table(read_table("set.parquet").assign(periodic="yes"), "set.parquet")
    run("--tags vnv pnp", client, code=1)
    said = capsys.readouterr()
    assert "0 models trained, 1 were there, 0 set aside" in said.out
    assert "pnp is set aside: the labels 'periodic' must be numbers" in said.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--tags vnv --tag pnp", "--tags and --tag are both given"),
        ("--random-states 1 2", "--tags or --tag is missing"),
        ("--tags vnv --random-states 1 --random-state 2", "--random-states and --random-state are both given"),
        ("--tags vnw", "there is no class 'vnw' (did you mean 'vnv'?)"),
        ("--tags vnv pnp --pre-trained-model set.parquet", "--pre-trained-model is of one class and one algorithm"),
        ("--tags vnv --threshold 2", "threshold is 2.0"),
        ("--verbose 1", "--tag is missing: give it, or --tags"),
        ("--tags vnv --path-dataset gone.csv", "there is no training set gone.csv"),
    ],
)
def test_wrong_usage_is_one_sentence(place, capsys, line, message) -> None:
    run(line, code=2)
    assert message in capsys.readouterr().err


def test_workers_are_not_for_one_model(place, capsys) -> None:
    run("--tag vnv --n-workers 2 --dry-run")
    assert "--n-workers is of several models or --out-of-core" in capsys.readouterr().err


def test_a_dry_run_tells_what_would_be_trained(place, capsys) -> None:
    words = ["--path-dataset", "set.parquet", "--tags", "vnv", "--algorithms", "xgb", "dnn", "--dry-run"]
    assert scope_train.main([*words, "--no-conv-branch", "--batch-size", "9", "--skip-cv", "--group", "g"]) == 0
    said = capsys.readouterr()
    assert "would train vnv xgb, random state 42 below models_xgb/g" in said.out
    assert "would train vnv dnn, random state 42 below models_dnn/g" in said.out
    assert said.err == ""  # options of one kind are used where both are trained
    assert not Path("models_xgb").exists()


def training() -> AbstractContextManager[subprocess.Popen[str]]:
    line = "--path-dataset set.parquet --tags vnv --algorithms xgb --random-states 1 2 3 --save --n-workers 1"
    environment = os.environ | {"PYTHONPATH": str(Path(scope_train.__file__).parents[2])}
    return started(
        [sys.executable, "-m", "scope_dask.commands.scope_train", *line.split(), "--skip-cv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def finished(journal: Path) -> dict[str, int]:
    """Return when the model file of each finished training was written."""
    if not journal.exists():
        return {}
    records = [json.loads(line) for line in journal.read_text().splitlines() if line.endswith("}")]
    paths = [Path("models_xgb/experiment") / file for r in records if r["ok"] for file, _ in r["files"]]
    return {str(path): path.stat().st_mtime_ns for path in paths if "_plots" not in str(path)}


def test_a_run_that_is_killed_goes_on(place) -> None:
    journal = Path("models_xgb/experiment") / JOURNAL
    with training() as first:
        deadline = time.monotonic() + 300
        while not finished(journal) and time.monotonic() < deadline:
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
    before = finished(journal)
    assert 0 < len(before) < 3
    with training() as second:
        out, err = second.communicate(timeout=300)
    assert second.returncode == 0, err
    assert f"{3 - len(before)} models trained, {len(before)} were there" in out
    after = finished(journal)
    assert len(after) == 3
    assert all(after[path] == written for path, written in before.items())
    assert len(list(Path("models_xgb/experiment").glob("*/*.params"))) == 3
    assert not Path("models_xgb/experiment/.parts").exists()


def test_trees_from_a_table_that_is_read_piece_by_piece(place, client, capsys) -> None:
    run("--tag vnv --out-of-core --save --group pieces", client)
    assert "vnv: test (14 rows, 6 members): precision" in capsys.readouterr().out
    run("--tag vnv --save --group memory")
    capsys.readouterr()
    found, expected = (load_models(f"models_xgb/{group}").models[0] for group in ("pieces", "memory"))
    assert found.preparation == expected.preparation
    assert next(Path("models_xgb/pieces/vnv").glob("*_plots/test/*_stats.json")).is_file()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--tag vnv --out-of-core --algorithm dnn", "--out-of-core is of XGBoost"),
        ("--tag vnv --out-of-core --skip-cv False", "--out-of-core needs --skip-cv"),
        ("--tag vnv --out-of-core --path-dataset set.csv", "--out-of-core reads Parquet files, found set.csv"),
        ("--tags vnv --out-of-core", "--out-of-core trains one model with all workers"),
    ],
)
def test_what_cannot_be_read_piece_by_piece(place, capsys, line, message) -> None:
    write_labelled(place / "set.csv")
    run(line, code=2)
    assert message in capsys.readouterr().err
