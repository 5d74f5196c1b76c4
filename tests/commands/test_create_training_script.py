"""create-training-script and assemble-training-stats: the script is run, and its models are compared."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from keras_files import keras2_file, network
from training_tables import labelled_table, write_labelled

from scope_dask.commands import assemble_training_stats, create_training_script, scope_train
from scope_dask.formats import write_table
from scope_dask.user_config import packaged_defaults
from scope_dask.user_config.training import class_labels

ALL = list(class_labels(packaged_defaults()))
DOCUMENTED = next(
    line
    for line in (Path(__file__).parents[1] / "documented_lines.txt").read_text().splitlines()
    if line.startswith("create-training-script")
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a working folder with a training set."""
    monkeypatch.chdir(tmp_path)
    write_labelled(tmp_path / "set.parquet")
    return tmp_path


def make(line: str, code: int = 0) -> None:
    words = ["--path-dataset", "set.parquet", *shlex.split(line)]
    if code:
        with pytest.raises(SystemExit, match=f"^{code}$"):
            create_training_script.main(words)
    else:
        assert create_training_script.main(words) == 0


def lines(name: str = "train_script.sh") -> list[list[str]]:
    text = Path(name).read_text()
    return [shlex.split(line) for line in text.splitlines() if line.startswith("scope-train")]


def tags(name: str = "train_script.sh") -> list[str]:
    return [words[words.index("--tag") + 1] for words in lines(name)]


def test_every_class_has_a_line_that_scope_train_understands(place) -> None:
    make("--min-count 1 --period-suffix ELS_ECE_EAOV --add-keywords '--save --batch-size 32 --group new'")
    assert tags() == ALL
    assert os.access("train_script.sh", os.X_OK)
    for _, *words in lines():
        call = scope_train.COMMAND.parse(words)
        found = call.options
        assert (found.algorithm, found.path_dataset, found.period_suffix) == ("dnn", "set.parquet", "ELS_ECE_EAOV")
        assert (found.save, found.batch_size, found.group, found.verbose) == (True, 32, "new", 1)
        assert found.pre_trained_model is None
    text = Path("train_script.sh").read_text()
    assert text.index("# Phenomenological") < text.index("--tag artfct") < text.index("# Ontological")
    assert text.index("# Ontological") < text.index("--tag agn")


def test_a_class_needs_so_many_rows_above_its_threshold(place) -> None:
    frame = labelled_table()
    counts = {tag: int((frame[label] > 0.7).sum()) for tag, label in class_labels(packaged_defaults()).items()}
    least = sorted(counts.values())[26]
    make(f"--min-count {least}")
    assert tags() == [tag for tag in ALL if counts[tag] >= least]
    write_table(frame.drop(columns="EA"), "few.parquet")
    make("--min-count 1 --path-dataset few.parquet --filename few.sh")
    assert set(ALL) - set(tags("few.sh")) == {"ea"}


def test_lines_name_the_newest_model_of_the_group_by_its_real_path(place) -> None:
    for tag, when in (("vnv", "20230101_000000"), ("vnv", "20240101_000000"), ("agn", "20230101_000000")):
        path = Path(f"models_dnn/experiment/{tag}/{tag}.{when}.h5")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    make("--min-count 1 --pre-trained-group-name experiment")
    assert tags() == ["vnv", "agn"]
    models = [words[words.index("--pre-trained-model") + 1] for words in lines()]
    assert models == [
        "models_dnn/experiment/vnv/vnv.20240101_000000.h5",
        "models_dnn/experiment/agn/agn.20230101_000000.h5",
    ]
    assert all(Path(model).is_file() for model in models)
    make("--min-count 1 --pre-trained-group-name experiment --train-all --filename all.sh")
    assert tags("all.sh") == ALL
    assert sum("--pre-trained-model" in words for words in lines("all.sh")) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--add-keywords '--sav'", "--add-keywords '--sav': there is no option --sav (did you mean --save"),
        ('--add-keywords "--group \'a"', "--add-keywords cannot be read as words"),
        ("--min-count 1000", "no class has 1000 rows in set.parquet: lower --min-count"),
        ("--min-count 0", "--min-count is 0, expected 1 or more"),
        ("--pre-trained-group-name gone", "there is no group gone: no folder models_dnn/gone"),
        ("--path-dataset gone.csv", "there is no training set gone.csv"),
        ("--filename set.parquet", "set.parquet is there already"),
    ],
)
def test_wrong_usage_is_one_sentence(place, capsys, line, message) -> None:
    make(f"--min-count 1 {line}", code=2)
    assert message in capsys.readouterr().err
    assert not Path("train_script.sh").exists()


def test_the_documented_line(place) -> None:
    write_labelled(place / "fritzDownload" / "merged_classifications_features.parquet", stars=200)
    path = Path("models_dnn/experiment/vnv/vnv.20221117_001502.h5")
    path.parent.mkdir(parents=True)
    path.write_bytes(keras2_file(network(35, True)))
    assert create_training_script.main(shlex.split(DOCUMENTED)[1:]) == 0
    ((_, *words),) = lines("train_dnn.sh")
    found = scope_train.COMMAND.parse(words).options
    assert found.pre_trained_model == str(path)
    assert found.path_dataset == "fritzDownload/merged_classifications_features.parquet"
    assert (found.group, found.period_suffix) == ("new_experiment", "ELS_ECE_EAOV")


def test_the_script_runs_and_its_models_are_compared(place, capsys) -> None:
    frame = labelled_table()
    few = {"variable", "non-variable", "AGN"}
    others = [label for label in class_labels(packaged_defaults()).values() if label not in few]
    folder = place / "with space"
    folder.mkdir()
    write_table(frame.drop(columns=others), folder / "set.csv", {"fourier": "raw"})
    added = ["--add-keywords", "--save --skip-cv --group made"]
    made = ["--path-dataset", "with space/set.csv", "--min-count", "1", "--algorithm", "xgb", *added]
    assert create_training_script.main(made) == 0
    scripts = place / "bin"
    scripts.mkdir()
    command = scripts / "scope-train"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m scope_dask.commands.scope_train "$@"\n')
    command.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(scope_train.__file__).parents[2]),
    }
    done = subprocess.run(
        ["./train_script.sh"], env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr
    assert {path.parent.name for path in Path("models_xgb/made").glob("*/*.params")} == {"vnv", "agn"}

    capsys.readouterr()
    line = "--group-name made --algorithm xgb --set-name test --stats-directory out --importance-directory imp"
    assert assemble_training_stats.main(line.split()) == 0
    assert "2 classes in out/made_xgb_test.csv" in capsys.readouterr().out
    table = pd.read_csv("out/made_xgb_test.csv").set_index("tag")
    assert list(table.index) == ["agn", "vnv"]
    (stats,) = Path("models_xgb/made/vnv").glob("*_plots/test/*_stats.json")
    assert table.loc["vnv", "roc_auc"] == json.loads(stats.read_text())["roc_auc"]
    assert len(json.loads(Path("out/made_xgb_test.json").read_text())) == 2
    assert Path("out/made_test.html").read_text().count("<section") == 3
    importance = pd.read_csv("imp/made_xgb.csv").set_index("feature")
    assert importance["vnv"].idxmax() == "skew"
    assert len(list(Path("imp").glob("*.png"))) == 2


def test_a_group_without_records_is_told(place, capsys) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        assemble_training_stats.main(["--group-name", "none"])
    assert "there are no statistics of the val rows in models_dnn/none" in capsys.readouterr().err
