"""Every command line of the user's document, run as it is printed, in the folder that scope-initialize makes."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fritz_lines
import fritz_world
import numpy as np
import pandas as pd
import pytest
import yaml
from keras_files import keras2_file, network
from kowalski_documents import matchfile_id, place, source_documents
from kowalski_server import KowalskiServer
from kowalski_sky import TOKEN
from prediction_tables import feature_table, save_original_network, save_xgb_models, write_features
from training_tables import labelled_table

from scope_dask import ragged
from scope_dask.formats import write_table
from scope_dask.schema import RAW_LIGHTCURVES
from scope_dask.user_config import packaged_defaults
from scope_dask.user_config.features import feature_names

ROOT = Path(__file__).parents[2]
NUMBERS = {"<field_number>": "301", "<ccd_number>": "2", "<quad_number>": "4"}
MADE_BY = {
    "./get_all_preds.sh": "create-inference-script",
    "./scope_upload_disagreements.py": "scope-upload-disagreements",
}


def commands() -> dict[str, str]:
    """Return the commands that an installation has, by name."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    return {name: entry for name, entry in scripts.items() if name != "scope-cluster"}  # `dask scope`: docs/clusters.md


def lines() -> list[str]:
    text = (ROOT / "tests" / "documented_lines.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def command_of(line: str) -> str:
    """Return the command that a line calls, or that makes the script that it calls."""
    called = re.search(r"\./\S+|\b(?:scope|run|combine|check|create|generate|get|train)-[\w-]+", line)
    assert called, line
    return MADE_BY.get(called[0], called[0])


def numbered(line: str) -> str:
    for name, number in NUMBERS.items():
        line = line.replace(name, number)
    return line


def light_curves() -> pd.DataFrame:
    """Return light curves of field 301: three of each quadrant of CCDs 1 and 2."""
    keys = [(matchfile_id(301, c, q, b, b), 301, c, q, b) for c in (1, 2) for q in (1, 2, 3, 4) for b in (1, 2, 3)]
    rng = np.random.default_rng(301)
    frame = pd.DataFrame(keys, columns=["_id", "field", "ccd", "quad", "filter"])
    frame["ra"] = 200.0 + 0.05 * np.arange(len(frame))
    frame["dec"] = 20.0 + rng.uniform(-0.01, 0.01, len(frame))
    return observed(frame, rng)


def local_light_curves() -> pd.DataFrame:
    """Return light curves with the ids, and at the positions, of the examples of local runs."""
    ids, places = (pd.read_csv(ROOT / "configs" / f"local_scope_{kind}.csv") for kind in ("ztfid", "radec"))
    frame = pd.DataFrame({"_id": [*ids["ztf_id"], *(matchfile_id(297, 1, 1, 1, k) for k in range(len(places)))]})
    frame["field"], frame["ccd"], frame["quad"], frame["filter"] = 296 + (frame.index >= len(ids)), 1, 1, 1
    frame["ra"], frame["dec"] = ([*range(len(ids)), *places[name]] for name in ("ra", "dec"))
    return observed(frame, np.random.default_rng(296))


def observed(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return sources with light curves of 60 points, one in 36 hours."""
    size = 60
    offsets = np.arange(len(frame) + 1) * size
    times = np.tile(2458300.75 + 1.5 * np.arange(size), len(frame)) + rng.uniform(-0.15, 0.15, len(frame) * size)
    frame["hjd"] = ragged.join(np.round(times, 5), offsets)
    wave = 16.0 + 0.3 * np.sin(2 * np.pi * times / 0.6) + rng.normal(0.0, 0.02, len(times))
    frame["mag"] = ragged.join(np.round(wave, 4), offsets)
    frame["magerr"] = ragged.join(np.full(len(times), 0.02), offsets)
    frame["catflags"] = ragged.join(np.zeros(len(times), np.int32), offsets)
    return frame[RAW_LIGHTCURVES.names]


def features(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return documents of a catalogue of features of these light curves; some fields of catalogues are missing."""
    names = feature_names(packaged_defaults(), "ontological", "ELS_ECE_EAOV")
    assert names is not None
    rng = np.random.default_rng(1)
    documents = []
    for row in frame.to_dict("records"):
        values = dict(zip(names, rng.uniform(0.1, 1.0, len(names)).tolist(), strict=True))
        values |= {n: None for n in names if "__" in n and rng.random() < 0.2}
        position = {key: int(row[key]) for key in ("_id", "field", "ccd", "quad", "filter")}
        documents.append({**position, **place(row["ra"], row["dec"]), "n": 60, **values, "dmdt": [[0.2] * 26] * 26})
    return documents


@dataclass
class Place:
    """The working folder, and the environment in which the lines run."""

    folder: Path
    environment: dict[str, str]

    def run(self, line: str, timeout: float = 300.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )


@pytest.fixture(scope="module")
def working_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Install the commands' scripts, make the working folder, and name the test servers in its configuration."""
    home = tmp_path_factory.mktemp("documented")
    scripts = home / "bin"
    scripts.mkdir()
    for name, entry in commands().items():
        module, function = entry.split(":")
        script = scripts / name
        # As installers write it: the workers of a local cluster import it once more.
        called = f"from {module} import {function}\nif __name__ == '__main__':\n    sys.exit({function}())\n"
        script.write_text(f"#!{sys.executable}\nimport sys\n{called}")
        script.chmod(0o755)
    secrets = re.compile(r"_INSTANCE_|FRITZ_TOKEN|WANDB_API_KEY|CONFIG")
    environment = {name: value for name, value in os.environ.items() if not secrets.search(name)}
    environment |= {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    made = Place(home, environment).run("scope-initialize")
    assert made.returncode == 0, made.stderr
    frame = light_curves()
    sources = source_documents(frame)
    others: dict[str, list] = {name: [] for name in ("ZTF_alerts", "Gaia_EDR3", "AllWISE", "PS1_DR1")}
    local = source_documents(local_light_curves())
    catalogs = {"ZTF_sources_20230109": sources, "ZTF_sources_20240117": [*sources, *local], **others}
    catalogs["ZTF_source_classifications_DR16"] = fritz_lines.scored(frame)
    server = KowalskiServer({**catalogs, "ZTF_source_features_DR16": features(frame)})
    with contextlib.ExitStack() as stack:
        stack.callback(server.close)
        fritz = stack.enter_context(fritz_world.running())
        fritz_lines.prepare(fritz, home / "scope", frame)
        config = yaml.safe_load((home / "scope" / "config.yaml").read_text())
        host = {"token": TOKEN, "host": "127.0.0.1", "port": server.port, "protocol": "http"}
        config["kowalski"]["hosts"] = {"kowalski": host}
        config["fritz"] = fritz_lines.section(fritz)
        config["training"]["dataset"] = "data/training/dataset.parquet"
        (home / "scope" / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        make_inference_script(Place(home / "scope", environment))
        make_training_set(Place(home / "scope", environment))
        yield Place(home / "scope", environment)


def make_inference_script(place: Place) -> None:
    """Put small models and the features of specific ids into the folder, and make ``get_all_preds.sh``."""
    for group in ("experiment", "DR16_stats"):
        save_xgb_models(place.folder / "models_xgb" / group)
    save_original_network(place.folder / "models_dnn" / "nobalance_DR16_DNN_stats")
    write_features(feature_table(12), place.folder / "features" / "specific_ids" / "gen_features_specific_ids.parquet")
    made = place.run("create-inference-script --algorithm xgb")
    assert made.returncode == 0, made.stderr


def make_training_set(place: Place) -> None:
    """Put labelled features and a network of SCoPe 0.9.5 to continue with into the folder."""
    frame = labelled_table(200, dmdt=True)
    for name in ("data/training/dataset.d15.csv", "data/training/dataset.parquet"):
        (place.folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_table(frame, place.folder / name, {"fourier": "raw"})
    for folder in ("models", "models_dnn"):
        path = place.folder / folder / "experiment" / "vnv" / "vnv.20221117_001502.h5"
        path.parent.mkdir(parents=True)
        path.write_bytes(keras2_file(network(35, True)))


def trained(line: str) -> str:
    """Return a line of training as it is run here: a loop of some classes, and where TensorFlow is absent, dry runs."""
    if "scope-train " not in line or line.startswith("create-"):
        return line
    if line.startswith("for ") or importlib.util.find_spec("tensorflow") is None:
        line = line.replace("in 1 2 3 4 5 6 7 8 9 42;", "in 42;").replace("eb ea e agn bis blyr ceph dscu lpv ", "")
        return f'scope-train() {{ command scope-train "$@" --dry-run; }}; set -e; {line}'
    return line


def has_gpu() -> bool:
    from numba import cuda

    return bool(cuda.is_available())


@pytest.mark.parametrize("line", [line for line in lines() if command_of(line) in commands()])
def test_a_documented_line_runs(working_folder, line) -> None:
    done = working_folder.run(trained(numbered(line)))
    if "--doGPU" in line and not has_gpu():
        assert done.returncode == 1, done.stderr
        assert "--doCPU" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr


def test_what_the_ids_lines_leave(working_folder) -> None:
    import h5py

    folder = working_folder.folder / "ids" / "field_301"
    assert len(list(folder.glob("data_ccd_*_quad_*.h5"))) == 64
    expected = light_curves().query("ccd == 2 and quad == 3")["_id"].tolist()
    with h5py.File(folder / "data_ccd_02_quad_3.h5") as file:
        assert file["dataset_ccd_2_quad_3_field_301"][()].tolist() == expected
    with h5py.File(folder / "field_301.h5") as file:
        assert len(file["dataset_field_301"]) == 24


def test_what_the_inference_lines_leave(working_folder) -> None:
    folder = working_folder.folder / "preds_xgb"
    found = pd.read_parquet(folder / "field_301" / "field_301.parquet")
    assert sorted(found["_id"]) == sorted(light_curves()["_id"])
    assert found[["rrlyr_xgb", "vnv_xgb"]].notna().all(axis=None)
    assert len(pd.read_parquet(folder / "field_specific_ids" / "field_specific_ids.parquet")) == 12


def test_what_the_local_lines_leave(working_folder) -> None:
    """Each line scores its three light curves, the second one by both kinds of models."""
    folder = working_folder.folder
    found = sorted(folder.glob("preds_*/field_*-*_specific_ids/field_*.parquet"))
    assert [path.parts[-3] for path in found] == ["preds_dnn", "preds_xgb", "preds_xgb"]
    tables = [pd.read_parquet(path) for path in found]
    assert all(
        len(table) == 3 and table["vnv_" + path.parts[-3][6:]].notna().all()
        for path, table in zip(found, tables, strict=True)
    )
    assert sorted(tables[1]["obj_id"]) == ["obj_1", "obj_2", "obj_3"]
    assert sorted(tables[2]["obj_id"]) == sorted(tables[0]["obj_id"]) == ["AM_CVn", "V407_Vul", "ZTFJ1539+5027"]
    assert len(list(folder.glob("preds_*/field_*-*_specific_ids/*.csv"))) == 2


def test_every_command_has_help_with_its_defaults(working_folder) -> None:
    for name in commands():
        done = working_folder.run(f"{name} --help")
        assert done.returncode == 0, done.stderr
        assert "(default: config.defaults.yaml)" in " ".join(done.stdout.split())


def test_every_command_is_a_module_too() -> None:
    for name, entry in commands().items():
        assert entry == f"scope_dask.commands.{name.replace('-', '_')}:main"


def test_the_lines_of_the_usage_page_are_understood() -> None:
    page = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
    shown = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    found = [shlex.split(line) for line in shown if line.partition(" ")[0] in commands()]
    assert set(commands()) - {words[0] for words in found} == set(), "docs/usage.md shows no line of these commands"
    for name, *words in found:
        module = importlib.import_module(commands()[name].partition(":")[0])
        module.COMMAND.parse(words)


def test_all_commands_of_the_lines_are_known_names() -> None:
    assert len(lines()) == 25
    assert len({command_of(line) for line in lines()}) == 12
