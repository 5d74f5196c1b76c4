"""scope-train: every option has its effect, on XGBoost here and on networks where TensorFlow is."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from keras_files import keras2_file, network
from training_tables import labelled_table, write_labelled

from scope_dask.commands import scope_train
from scope_dask.formats import read_table, write_table
from scope_dask.inference.manifest import Manifest, read_manifest
from scope_dask.inference.models import load_models
from scope_dask.training import devices, figures

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# TensorFlow's variables do not know NumPy 2's argument copy.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
HAS_WANDB = (spec := importlib.util.find_spec("wandb")) is not None and spec.origin is not None
LINES = [
    line
    for line in (Path(__file__).parents[1] / "documented_lines.txt").read_text().splitlines()
    if line.startswith("scope-train")
]


@pytest.fixture(scope="session")
def tensorflow() -> Any:
    return pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the extra dnn)")


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("sets") / "set.parquet", dmdt=True)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: Path) -> Path:
    """Change to a working folder with a training set, and no figures: they are tested with the reports."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr(figures, "can_draw", lambda: False)
    monkeypatch.setattr("scope_dask.training.tracking.Tracking.available", False)
    (tmp_path / "set.parquet").symlink_to(table)
    return tmp_path


def run(line: str, code: int = 0) -> None:
    words = ["--tag", "vnv", "--path-dataset", "set.parquet", *line.split()]
    if code:
        with pytest.raises(SystemExit, match=f"^{code}$"):
            scope_train.main(words)
    else:
        assert scope_train.main(words) == 0


def options(line: str, algorithm: str = "dnn", tag: str = "vnv") -> Any:
    """Return the options of the model that a command line leads to."""
    words = ["--tag", tag, "--path-dataset", "set.parquet", "--algorithm", algorithm, *line.split()]
    return scope_train.plan_of(scope_train.COMMAND.parse(words)).options


def manifests(algorithm: str = "xgb", group: str = "experiment", tag: str = "vnv") -> list[Manifest]:
    """Return the manifests of the models of a class, the oldest first."""
    suffix = {"xgb": ".json", "dnn": ".keras"}[algorithm]
    folder = Path(f"models_{algorithm}") / group / tag
    return [read_manifest(p) for p in sorted(folder.glob(f"*{suffix}")) if re.search(rf"\d{{6}}\{suffix}$", p.name)]


def test_a_model_is_saved_scored_and_recorded(place, capsys) -> None:
    run("--algorithm xgb --skip-cv --save --group mine --job-type nightly")
    said = capsys.readouterr().out
    assert "vnv: xgb on 120 rows of set.parquet" in said
    (path,) = Path("models_xgb/mine/vnv").glob("*[0-9].json")
    assert path.with_suffix(".params").is_file()
    record = json.loads(next(Path("models_xgb/mine/vnv").glob("*_plots/*_record.json")).read_text())
    assert (record["group"], record["job_type"], record["label"]) == ("mine", "nightly", "variable")
    assert record["model"] == str(path.with_suffix(""))
    (manifest,) = manifests(group="mine")
    assert manifest.metrics["val"]["roc_auc"] > 0.8
    assert manifest.parameters["max_depth"] == 3  # the first of the range
    assert "trials" not in manifest.parameters
    # Two light curves of a star are on one side: parts have whole stars.
    assert all(part["rows"] == 2 * part["stars"] for name, part in manifest.counts.items() if name != "unused")
    (model,) = load_models("models_xgb/mine")
    assert model.column == "vnv_xgb"
    # Silence, and nothing but a record without --save.
    run("--algorithm xgb --skip-cv --group other --verbose 0")
    assert capsys.readouterr().out == ""
    assert {p.name[-6:] for p in Path("models_xgb/other/vnv").iterdir()} == {"_plots"}


def test_the_grid_search_is_done_unless_it_is_skipped(place) -> None:
    other = {"eta": [0.3], "num_boost_round": 10, "nfold": 2}
    ranges = {"max_depth": [2, 2, 1], "min_child_weight": [2, 2, 1]}
    ranges |= {"subsample": [10, 10, 1], "colsample_bytree": [10, 10, 1]}
    content = {"training": {"xgboost": {"gridsearch_params_start_stop_step": ranges, "other_training_params": other}}}
    (place / "config.yaml").write_text(yaml.safe_dump(content))
    run("--algorithm xgb --save")
    (manifest,) = manifests()
    assert {trial["max_depth"] for trial in manifest.parameters["trials"]} == {1.0, 2.0, 3.0}
    assert options("", "xgb").search.n_folds == 2
    assert options("--skip-cv", "xgb").search is None


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("--batch-size 7", "batch_size", 7),
        ("--shuffle-buffer-size 9", "shuffle_buffer_size", 9),
        ("--epochs 3", "epochs", 3),
        ("--float-convert-types 64 16", "float_convert_types", (64, 16)),
        ("--lr 0.5", "lr", 0.5),
        ("--beta-1 0.5", "beta_1", 0.5),
        ("--beta_2 0.6", "beta_2", 0.6),
        ("--epsilon 1e-3", "epsilon", 1e-3),
        ("--decay 0.1", "decay", 0.1),
        ("--momentum 0.2", "momentum", 0.2),
        ("--monitor val_auc", "monitor", "val_auc"),
        ("--patience 4", "patience", 4),
        ("--callbacks early_stopping tensorboard", "callbacks", ("early_stopping", "tensorboard")),
        ("--run-eagerly", "run_eagerly", True),
        ("--threshold 0.4", "threshold", 0.4),
        ("--balance 1.5", "balance", 1.5),
        ("--balance -1", "balance", None),
        ("--weight-per-class", "weight_per_class", True),
        ("--scale-features median_std", "scaling", "median_std"),
        ("--test-size 0.3", "test_size", 0.3),
        ("--val-size 0.2", "val_size", 0.2),
        ("--random-state 5", "random_state", 5),
        ("--pre-trained-model set.parquet", "pre_trained_model", "set.parquet"),
        ("--conv-branch", "conv_branch", True),
        ("--no-conv-branch", "conv_branch", False),
        ("--conv-branch False", "conv_branch", False),
        ("--no-dense-branch", "dense_branch", False),
        ("--verbose 0", "verbose", 0),
        ("--verbose 1", "verbose", 2),
    ],
)
def test_options_reach_the_training_of_networks(place, line, name, value) -> None:
    assert getattr(options(line), name) == value


def test_what_is_not_given_is_that_of_the_class(place) -> None:
    own = {"label": "variable", "threshold": 0.3, "balance": 2, "weight_per_class": True, "lr": 0.02, "batch_size": 5}
    dnn = {"conv_branch": False, "optimizer": "sgd", "loss": "binary_focal_crossentropy"}
    content = {"training": {"classes": {"vnv": own}, "dnn": dnn, "dataset": "other.csv"}}
    (place / "config.yaml").write_text(yaml.safe_dump(content))
    found = options("")
    assert (found.threshold, found.balance, found.weight_per_class) == (0.3, 2, True)
    assert (found.lr, found.batch_size, found.conv_branch, found.optimizer) == (0.02, 5, False, "sgd")
    assert found.loss == "binary_focal_crossentropy"
    assert options("--conv-branch --lr 0.1 --balance 3").lr == 0.1
    assert options("--conv-branch").conv_branch
    assert options("--weight-per-class False").weight_per_class is False


def test_the_period_suffix_chooses_features(place) -> None:
    write_table(labelled_table(suffix="LS"), place / "ls.parquet")
    assert "f1_amp_LS" in options("--path-dataset ls.parquet --period-suffix LS --no-conv-branch").features
    run("--path-dataset ls.parquet --period-suffix LS --algorithm xgb --skip-cv --save")
    (manifest,) = manifests()
    assert manifest.period_suffix == "LS"
    assert "f1_amp_LS" in manifest.preparation.features
    run("--algorithm xgb --skip-cv --period-suffix LS", code=2)


def test_training_options_have_their_effect_on_the_model(place) -> None:
    for line in (
        "--threshold 0.2",
        "--test-size 0.3",
        "--random-state 4",
        "--scale-features min_max --feature-stats stats.json",
        "--balance 1",
        "--calibration sigmoid",
    ):
        stats = {name: {"min": -9.0, "max": 11.0} for name in options("", "xgb").features}
        (place / "stats.json").write_text(json.dumps(stats))
        run(f"--algorithm xgb --skip-cv --save --verbose 0 {line}")
    threshold, size, state, scaled, balanced, calibrated = manifests()
    assert threshold.threshold == 0.2
    assert size.counts["test"]["stars"] == pytest.approx(18, abs=1)
    assert state.parameters["random_state"] == 4
    assert set(scaled.preparation.scale) == {20.0}
    assert set(scaled.preparation.offset) == {-9.0}
    assert balanced.counts["train"]["rows"] == 2 * balanced.counts["train"]["members"]
    assert balanced.calibration is None
    assert calibrated.calibration is not None
    assert calibrated.calibration.method == "sigmoid"


def test_trees_go_on_from_a_model(place) -> None:
    run("--algorithm xgb --skip-cv --save --group first")
    (path,) = Path("models_xgb/first/vnv").glob("*[0-9].json")
    run(f"--algorithm xgb --save --pre-trained-model {path}")
    assert manifests()[0].parameters["rounds"] > manifests(group="first")[0].parameters["rounds"]


def test_options_of_the_other_kind_are_named_and_not_used(place, capsys) -> None:
    run("--algorithm xgb --skip-cv --dry-run --batch-size 3 --conv-branch --weights-only")
    said = capsys.readouterr().err
    assert "--batch-size, --conv-branch, --weights-only are of networks" in said
    assert "--weights-only is not used without --save" in said
    run("--dry-run --skip-cv")
    assert "--skip-cv is of XGBoost" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--no-conv-branch --no-dense-branch", "dense_branch and conv_branch are both off"),
        ("--conv-branch --no-conv-branch", "--conv-branch and --no-conv-branch contradict each other"),
        ("--algorithm svm", "'svm' is not a dnn or xgb"),
        ("--tag vnw", r"there is no class 'vnw' (did you mean 'vnv'?)"),
        ("--path-dataset nothing.csv", "there is no training set nothing.csv"),
        ("--pre-trained-model gone.h5", "--pre-trained-model is gone.h5, and there is no such file"),
        ("--monitor val_los", "did you mean 'val_loss'"),
        ("--feature-stats gone.json", "--feature-stats is 'gone.json'"),
        ("--group a/b", "the group is 'a/b'"),
        ("--bach-size 3", "there is no option --bach-size (did you mean --batch-size"),
        ("--lr 0", "lr is 0.0; expected above 0"),
        ("--calibration platt", "calibration is 'platt'; expected one of none, sigmoid, isotonic"),
    ],
)
def test_wrong_usage_is_one_sentence(place, capsys, line, message) -> None:
    run(line, code=2)
    assert message in capsys.readouterr().err


def test_a_gpu_that_is_not_there(place, capsys, monkeypatch) -> None:
    monkeypatch.setattr(devices, "gpus", lambda: [])
    with pytest.warns(UserWarning, match="there is no GPU here"):
        assert options("--gpu 1").gpu is None
    run("--gpu 1 --dry-run")
    assert "--gpu is 1, and there is no GPU here: training on the CPU" in capsys.readouterr().err
    monkeypatch.setattr(devices, "gpus", lambda: ["NVIDIA H100"])
    assert options("--gpu 0").gpu == 0
    run("--gpu 1", code=2)
    assert "there is no such GPU; there are 0 (NVIDIA H100)" in capsys.readouterr().err


def test_figures_are_drawn_as_png_and_with_plot_as_pdf(place, monkeypatch) -> None:
    run("--algorithm xgb --skip-cv --plot", code=2)  # no matplotlib
    monkeypatch.undo()
    monkeypatch.chdir(place)
    monkeypatch.setattr("scope_dask.training.tracking.Tracking.available", False)
    plots = "training: {xgboost: {plot_params: {cm_include_count: true, annotate_scores: true}}}"
    (place / "config.yaml").write_text(plots)
    run("--algorithm xgb --skip-cv --plot --plot-model --group drawn")
    (folder,) = Path("models_xgb/drawn/vnv").glob("*_plots")
    assert len(list(folder.rglob("*.png"))) == len(list(folder.rglob("*.pdf"))) == 13
    assert len(list(folder.glob("*_model.txt"))) == 1


@pytest.mark.parametrize("line", LINES)
def test_the_documented_line_without_training(place, line) -> None:
    Path("data/training").mkdir(parents=True)
    write_table(read_table("set.parquet"), "data/training/dataset.d15.csv")
    model = Path("models/experiment/vnv/vnv.20221117_001502.h5")
    model.parent.mkdir(parents=True)
    model.write_bytes(keras2_file(network(35, True)))
    environment = os.environ | {"PYTHONPATH": str(Path(scope_train.__file__).parents[2])}
    words = [sys.executable, "-m", "scope_dask.commands.scope_train", *line.split()[1:], "--dry-run"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert "would read 35 features and the labels 'variable' of data/training/dataset.d15.csv" in done.stdout
    assert "tensorflow" not in done.stderr


def test_networks_are_trained_saved_and_continued(place, tensorflow, capsys) -> None:
    run("--epochs 2 --batch-size 16 --lr 0.003 --save --verbose 1")
    assert "Epoch 2/2" in capsys.readouterr().out
    (manifest,) = manifests("dnn")
    assert manifest.parameters["batch_size"] == 16
    assert manifest.metrics["history"]["learning_rate"][0] == np.float32(0.003)
    (folder,) = Path("models_dnn/experiment/vnv").glob("*_plots")
    importance = json.loads(next(folder.glob("*_impvars.json")).read_text())
    assert set(importance) == {*manifest.preparation.features, "dmdt"}
    (path,) = Path("models_dnn/experiment/vnv").glob("*.h5")
    run(f"--pre-trained-model {path} --epochs 1 --lr 1e-9 --save --weights-only --group weights --verbose 0")
    assert capsys.readouterr().out == ""
    (alone,) = Path("models_dnn/weights/vnv").glob("*.weights.h5")
    assert {p.name.partition(".")[2][15:] for p in alone.parent.iterdir() if p.is_file()} == {
        ".weights.h5",
        ".weights.manifest.json",
    }
    # From the weights alone training goes on, too, and hardly any rate leaves the network as it was.
    run(f"--pre-trained-model {alone} --epochs 1 --lr 1e-9 --save --group again --verbose 0")
    (first,), (last,) = load_models("models_dnn/experiment"), load_models("models_dnn/again")
    frame = read_table("set.parquet").rename(columns={"ztf_id": "_id"})
    from scope_dask.inference.models import Models
    from scope_dask.inference.scores import scores

    before, after = (scores(frame, Models((model,)))["vnv_dnn"] for model in (first, last))
    np.testing.assert_allclose(after, before, atol=1e-4)


def test_branches_and_the_figure_of_the_layers(place, tensorflow, monkeypatch) -> None:
    monkeypatch.setattr(figures, "can_draw", lambda: True)
    run("--epochs 1 --no-conv-branch --save --plot-model --run-eagerly --verbose 0")
    assert manifests("dnn")[0].preparation.dmdt is None
    (folder,) = Path("models_dnn/experiment/vnv").glob("*_plots")
    for name in ("model", "history"):
        assert next(folder.glob(f"*_{name}.png")).read_bytes().startswith(b"\x89PNG")


def test_a_sweep_trains_with_the_best_options(place, tensorflow, capsys) -> None:
    swept = {"method": "random", "run_cap": 2, "metric": {"goal": "minimize", "name": "val_loss"}}
    swept["parameters"] = {
        "lr": {"min": 1e-5, "max": 1e-2},
        "epochs": {"value": 1},
        "batch_size": {"values": [8, 16]},
        "amsgrad": {"min": 3e-5, "max": 3e-3},
        "callbacks": {"value": ["early_stopping"]},
    }
    (place / "config.yaml").write_text(yaml.safe_dump({"wandb": {"sweep_config_dnn": swept}}))
    run("--run-sweeps --no-conv-branch --batch-size 32 --run-eagerly --save")
    assert "sweep 2 of 2" in capsys.readouterr().out
    (manifest,) = manifests("dnn")
    record = json.loads(next(Path("models_dnn").rglob("*_record.json")).read_text())
    best = min(record["sweep"], key=lambda trial: trial["result"])
    assert manifest.parameters["lr"] == best["settings"]["lr"]
    assert manifest.parameters["batch_size"] == 32  # of the command line
    assert manifest.parameters["epochs_run"] == 1


@pytest.mark.skipif(not HAS_WANDB, reason="wandb is not installed (the extra wandb)")
def test_runs_are_written_for_weights_and_biases_without_a_token(place) -> None:
    environment = {k: v for k, v in os.environ.items() if "WANDB" not in k}
    environment["PYTHONPATH"] = str(Path(scope_train.__file__).parents[2])
    line = "--tag vnv --path-dataset set.parquet --algorithm xgb --skip-cv --group g --job-type nightly"
    words = [sys.executable, "-m", "scope_dask.commands.scope_train", *shlex.split(line)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    (log,) = Path("wandb").glob("offline-run-*/run-*.wandb")
    content = log.read_bytes()
    for word in (b"val_roc_auc", b"max_depth", b"nightly"):
        assert word in content


def test_a_folder_of_runs_is_not_the_package(place, monkeypatch) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(place)
    Path("wandb").mkdir()
    monkeypatch.syspath_prepend(str(place))
    from scope_dask.training.tracking import Tracking

    assert Tracking().available is HAS_WANDB
