"""The option --cluster: every command that computes has it, and does the same there, in the same folder."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pandas as pd
import psutil
import pytest
from prediction_tables import FIELD, feature_table, save_xgb_models, write_features

from scope_dask.cluster.connect import client_of
from scope_dask.cluster.folder import Wanted
from scope_dask.cluster.launch import launch, stop
from scope_dask.cluster.profile import ClusterProfile
from scope_dask.commands import _on_worker, combine_preds, run_inference
from scope_dask.errors import RunError

TESTS = Path(__file__).parents[1]
PATIENCE = 60.0
COMPUTING = (
    "generate-features", "get-features", "get-quad-ids", "check-quads-for-sources", "run-inference", "scope-inference",
    "combine-preds", "scope-train", "assemble-training-stats", "run-scope-local", "gcn-cronjob",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A launched cluster of this machine, one worker."""
    with pytest.MonkeyPatch.context() as changes:
        changes.setenv("SCOPE_DASK_CLUSTERS", str(tmp_path_factory.mktemp("clusters")))
        changes.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent)]))
        launch(ClusterProfile(system="local", memory="1 GiB", interface="lo"), "for-commands", Wanted(1, 1))
        yield "for-commands"
        stop("for-commands")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with features and models."""
    monkeypatch.chdir(tmp_path)
    write_features(feature_table(40), Path(f"features/field_{FIELD}/field_{FIELD}_iter_0.parquet"))
    save_xgb_models(Path("models"), ("vnv",))
    return tmp_path


@pytest.mark.parametrize("name", COMPUTING)
def test_every_command_that_computes_has_it(name: str) -> None:
    known = import_module(f"scope_dask.commands.{name.replace('-', '_')}").COMMAND.known
    assert "an address tcp://…, the name of a launched one, or a profile" in known["--cluster"].help


def test_scores_and_their_combination(cluster: str, workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    score = ["--paths-models", "models", "--field", str(FIELD), "--whole-field"]
    combine = ["--write-csv"]
    files = {}
    for words in ([], ["--cluster", cluster]):
        assert run_inference.main([*score, *words, "--overwrite"]) == 0
        assert combine_preds.main([*combine, *words]) == 0
        (path,) = Path("preds_dnn_xgb").glob("*.parquet")
        assert f"{FIELD}: 40 rows in {path}\n" in capfd.readouterr().out
        files[bool(words)] = pd.read_parquet(path)
        path.unlink()
    pd.testing.assert_frame_equal(files[True], files[False])


def test_an_error_there_is_one_sentence_here(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert combine_preds.main(["--cluster", cluster]) == 2
    assert "Error: there are no predictions in preds_dnn or preds_xgb" in capfd.readouterr().err


def test_what_is_not_wanted_any_more_is_ended(cluster: str, tmp_path: Path) -> None:
    heard = threading.Event()
    with client_of(cluster) as client:
        client.subscribe_topic("served", lambda event: heard.set())
        words = ["http.server", "--bind", "127.0.0.1", "--directory", str(tmp_path), "0"]
        served = client.submit(_on_worker.call, words, str(tmp_path), "served", key="served")
        assert heard.wait(PATIENCE)
        (process,) = [p for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [])[-len(words) :] == words]
        served.cancel()
        process.wait(PATIENCE)


def test_a_folder_that_the_worker_does_not_see(cluster: str, tmp_path: Path) -> None:
    with client_of(cluster) as client:
        asked = client.submit(_on_worker.call, ["this"], str(tmp_path / "nowhere"), "seen", key="seen")
        with pytest.raises(RunError, match=r"has no folder .*nowhere: workers must see the working folder"):
            asked.result(PATIENCE)


def test_as_it_is_typed(cluster: str, workplace: Path) -> None:
    command = [sys.executable, "-m", "scope_dask.commands.combine_preds", "--cluster", "for-comands"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 2
    assert "no cluster 'for-comands' is running (did you mean 'for-commands'?)" in done.stderr
