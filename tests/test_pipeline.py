"""The pipeline as a whole: planned without reading, run, interrupted, resumed, and told from the command line."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result
from clusters import two_workers
from curve_tables import curve_table
from distributed import Client
from processes import started

from scope_dask.commands.scope import scope
from scope_dask.conditioning.lightcurves import lightcurves
from scope_dask.errors import OptionError, UsageError
from scope_dask.extraction.features import features
from scope_dask.inference.models import load_models
from scope_dask.inference.scores import scores
from scope_dask.journal import Journal
from scope_dask.pipeline import Pipeline
from scope_dask.simulate import simulate_sources
from scope_dask.training.fitting import save_models, train_all
from scope_dask.training.options import TrainingOptions
from scope_dask.writing import JOURNAL

SIMULATE = {
    "n_light_curves": 24,
    "light_curves_per_partition": 4,
    "n_points": [30, 40, 60],
    "baseline_days": 200.0,
}
OPTIONS: dict[str, Any] = {
    "lightcurves": {"min_n_lc_points": 20},
    "features": {"periods": {"max_freq": 3.0, "top_n_periods": 5}},
    "run": {"n_workers": 2, "dashboard_address": "127.0.0.1:0"},
}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with two_workers() as client:
        yield client


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    return {"out": str(tmp_path / "out"), "sources": {"simulate": SIMULATE}, **OPTIONS}


def written(out: Path, table: str = "features") -> pd.DataFrame:
    return pd.concat([pd.read_parquet(f) for f in sorted((out / table).rglob("*.parquet"))], ignore_index=True)


def expected(pipeline: Pipeline) -> pd.DataFrame:
    """Compute the features at once, in this process."""
    raw = pipeline.sources().compute(scheduler="synchronous")
    return features(lightcurves(raw, pipeline.options.lightcurves), pipeline.options.features)


def assert_equal(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    found, wanted = (f.sort_values("_id", ignore_index=True) for f in (found, wanted))
    if "dmdt" in wanted:
        np.testing.assert_array_equal(np.stack(found.pop("dmdt")), np.stack(wanted.pop("dmdt")))
    pd.testing.assert_frame_equal(found, wanted, check_exact=True, check_flags=False)


@pytest.fixture
def archive(tmp_path: Path) -> Callable[[int], Path]:
    """Write a folder of IRSA files of four light curves each."""

    def write(files: int) -> Path:
        folder = tmp_path / "archive"
        folder.mkdir()
        for k in range(files):
            rng = np.random.default_rng(k)
            hjd = [np.sort(rng.uniform(58300, 58500, 40)) for _ in range(4)]
            curves = [(t, 17 + np.sin(2 * t), np.full(40, 0.05), np.zeros(40, int)) for t in hjd]
            frame = curve_table(curves, first_id=1000 * k)
            names = {"_id": "objectid", "filter": "filterid", "field": "fieldid", "ra": "objra", "dec": "objdec"}
            frame = frame.rename(columns={**names, "hjd": "hmjd"}).assign(rcid=0, nepochs=40)
            frame["clrcoeff"] = frame["mag"]
            frame.to_parquet(folder / f"ztf_000001_zg_c01_q1_dr{k}.parquet", index=False)
        return folder

    return write


def blank(path: Path) -> None:
    """Overwrite all data of a Parquet file, but not its footer."""
    data = bytearray(path.read_bytes())
    footer = int.from_bytes(data[-8:-4], "little") + 8
    data[4:-footer] = bytes(len(data) - footer - 4)
    path.write_bytes(data)


def test_a_plan_of_a_simulation_simulates_nothing(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("computed")

    monkeypatch.setattr("scope_dask.simulate.tables.curves", refuse)
    plan = Pipeline.from_config(options).plan()
    assert (plan.partitions, plan.source.rows, plan.done) == (6, 24, 0)
    assert plan.source.nbytes == 24 * 40 * 20
    lines = str(plan).splitlines()
    assert lines[0] == "sources      simulated field 296: 24 light curves, about 18.75 kiB in memory, 6 partitions"
    assert lines[1] == "lightcurves  min_n_lc_points 20, min_cadence_minutes 30.0 → 10 columns"
    assert lines[2] == "features     ELS_ECE_EAOV, up to 3/d → 94 columns"
    assert lines[3] == f"out          {options['out']}"
    assert not Path(options["out"]).exists()


def test_a_plan_of_an_archive_reads_footers_only(options: dict[str, Any], archive: Callable[[int], Path]) -> None:
    folder = archive(3)
    for path in folder.iterdir():
        blank(path)
    plan = Pipeline.from_config({**options, "sources": {"archive": {"path": str(folder)}}}).plan()
    assert plan.source.rows == 12
    assert plan.partitions >= 1
    assert plan.source.nbytes >= 12 * 40 * 20


def test_a_run_writes_what_the_stages_make(options: dict[str, Any], client: Client) -> None:
    pipeline = Pipeline.from_config(options)
    summary = pipeline.run(client)
    out = Path(options["out"])
    assert_equal(written(out), expected(pipeline))
    assert list(summary.stages) == ["lightcurves", "features"]
    kept = len(written(out))
    assert (summary.stages["lightcurves"].rows_in, summary.stages["lightcurves"].rows_out) == (24, kept)
    assert summary.rows == {"features": kept}
    assert (out / "dask-report.html").stat().st_size > 10_000
    scope_metadata = json.loads(pq.read_metadata(next((out / "features").rglob("*.parquet"))).metadata[b"scope"])
    assert scope_metadata["fourier"] == "raw"
    assert str(pipeline.plan()).endswith(f"{out} (6 partitions are there already)")


def test_scores_stand_beside_the_features(options: dict[str, Any], client: Client, tmp_path: Path) -> None:
    table = expected(Pipeline.from_config(options))
    labels = pd.DataFrame({"_id": table["_id"], "vnv": (np.arange(len(table)) % 2).astype(float)})
    names = ("skew", "wstd", "period_ELS_ECE_EAOV")
    trained = train_all(table, labels, TrainingOptions(features=names, num_boost_round=2))
    save_models(trained, tmp_path / "models")
    pipeline = Pipeline.from_config({**options, "scores": {"models": str(tmp_path / "models")}})
    assert "scores       models of" in str(pipeline.plan())
    summary = pipeline.run(client)
    assert list(summary.stages) == ["lightcurves", "features", "scores"]
    wanted = scores(table, load_models(tmp_path / "models"))
    assert_equal(written(Path(options["out"]), "scores"), wanted)
    assert_equal(written(Path(options["out"])), table)


def test_a_rerun_with_other_options_is_refused_by_name(options: dict[str, Any], client: Client) -> None:
    Pipeline.from_config(options).run(client)
    other = {**options, "features": {"periods": {"max_freq": 4.0, "top_n_periods": 5}}}
    with pytest.raises(UsageError, match=r"features\.periods\.max_freq: 3\.0 → 4\.0"):
        Pipeline.from_config(other).run(client)
    how = {**options, "run": {"partitions_in_flight": 3, "performance_report": False}}
    assert Pipeline.from_config(how).run(client).reused == 6  # how it computes is not what it computes


def test_nothing_is_left_in_a_folder_of_someone_else(options: dict[str, Any], client: Client) -> None:
    out = Path(options["out"])
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty and holds no run"):
        Pipeline.from_config(options).run(client)
    assert [f.name for f in out.iterdir()] == ["notes.txt"]


def test_changes_replace_fields(options: dict[str, Any]) -> None:
    assert Pipeline.from_config(options, out="elsewhere").options.out == "elsewhere"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"featurs": {}}, r"there is no option 'featurs' \(did you mean 'features'\?\)"),
        ({"sources": {}}, r"sources needs exactly one of archive, simulate, kowalski, hats, rubin, found none of them"),
        ({"features": {"periods": {"max_freq": -1}}}, r"max_freq is -1\.?0?; it must be greater than 0"),
        ({"features": {"fourier": "nice"}}, r"features\.fourier is 'nice'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], change: Mapping[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Pipeline.from_config({**options, **change})


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def config(options: dict[str, Any], tmp_path: Path) -> Callable[..., str]:
    """Write the options, with changes, to a file and return its path."""

    def write(**changes: Any) -> str:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump({**options, **changes}))
        return str(path)

    return write


@pytest.fixture
def command() -> Iterator[Callable[..., Result]]:
    """Call ``dask scope`` in this process; put back what it sets for a process of its own."""
    logger, handler = logging.getLogger("scope_dask"), signal.getsignal(signal.SIGTERM)
    yield lambda *arguments: CliRunner().invoke(scope, list(arguments))
    signal.signal(signal.SIGTERM, handler)
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)


def test_the_command_plans(config: Callable[..., str], command: Callable[..., Result], tmp_path: Path) -> None:
    result = command("plan", config(), "--out", "elsewhere")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "out          elsewhere"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": {"archive": {"path": "absent/*.parquet"}}}, "absent"),
        ({"scores": {"models": "absent"}}, "absent"),
        ({"lightcurves": {"min_points": 3}}, "there is no option 'min_points'"),
    ],
)
@pytest.mark.parametrize("action", ["plan", "run"])
def test_wrong_usage_is_one_sentence_and_2(
    config: Callable[..., str],
    command: Callable[..., Result],
    tmp_path: Path,
    action: str,
    changes: dict[str, Any],
    message: str,
) -> None:
    result = command(action, config(**changes))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_made_is_2(
    config: Callable[..., str], command: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "inside"):
        result = command("run", config(), "--out", str(out))
        assert result.exit_code == 2
        assert result.stderr == f"Error: {out} cannot be used: Not a directory; choose another place\n"


def test_an_absent_configuration_is_2(command: Callable[..., Result]) -> None:
    result = command("run", "nowhere.yaml")
    assert result.exit_code == 2
    assert result.stderr == "Error: the configuration nowhere.yaml cannot be read: No such file or directory\n"


def test_a_corrupt_file_is_set_aside_and_1(
    config: Callable[..., str], command: Callable[..., Result], archive: Callable[[int], Path], tmp_path: Path
) -> None:
    folder = archive(3)
    blank(sorted(folder.iterdir())[1])
    source = {"archive": {"path": str(folder), "partition_bytes": 1}}
    result = command("run", config(sources=source))
    assert result.exit_code == 1, result.stderr
    out = tmp_path / "out"
    assert set(written(out)["_id"] // 1000) == {0, 2}
    assert len(written(out)) == 8
    aside = pd.read_parquet(out / "set_aside")
    assert set(aside["stage"]) == {"partition"}
    assert aside["reason"].str.contains("ztf_000001_zg_c01_q1_dr1.parquet").all()
    assert f"partition {aside['partition'].iloc[0]} set aside: " in result.stdout
    lines = result.stderr.splitlines()
    assert [line.split(":")[0] for line in lines if "dashboard" in line] == ["dashboard"]
    progress = [k for k, line in enumerate(lines) if line.startswith("12 of 12 partitions, 4 set aside, ")]
    assert len(progress) == 1
    assert lines.index(next(line for line in lines if line.startswith("dashboard: http://127.0.0.1:"))) < progress[0]
    assert "Traceback" not in result.stderr


def done(out: Path) -> list[int]:
    return sorted(Journal(out / JOURNAL).read())


# A shell starts its background jobs with Ctrl-C ignored, and what they start inherits that.
HEEDS_CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from dask.__main__ import main
main()
"""


def interrupt(config: str, out: Path, number: int) -> tuple[int, str]:
    """Run the command in a process group of its own, send the group a signal after four partitions."""
    arguments = [sys.executable, "-c", HEEDS_CTRL_C, "scope", "run", config]
    with started(arguments, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        limit = time.monotonic() + 200
        while len(done(out)) < 4 and time.monotonic() < limit and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, number)
        _, stderr = process.communicate(timeout=100)
    return process.returncode, stderr


def test_ctrl_c_keeps_what_was_finished(config: Callable[..., str], client: Client, tmp_path: Path) -> None:
    simulate = {**SIMULATE, "n_light_curves": 160, "baseline_days": 1826.25}
    periods = {"max_freq": 48.0, "top_n_periods": 5}
    path = config(sources={"simulate": simulate}, features={"periods": periods})
    out = tmp_path / "out"
    code, stderr = interrupt(path, out, signal.SIGINT)
    assert code == 130, stderr
    assert stderr.splitlines()[-1] == "interrupted: what was finished is kept, the same command goes on from there"
    assert "Traceback" not in stderr
    kept = done(out)
    assert 4 <= len(kept) < 40
    assert not list((out / "features").rglob(".*"))
    pipeline = Pipeline.from_config(path)
    summary = pipeline.run(client)
    assert (summary.reused, summary.computed) == (len(kept), 40 - len(kept))
    assert summary.stages["lightcurves"].rows_in == 160
    ids = simulate_sources(pipeline.options.sources.simulate)["_id"].compute(scheduler="synchronous")
    assert set(written(out)["_id"]) <= set(ids)
    assert written(out)["_id"].is_unique
    assert len(written(out)) == summary.stages["lightcurves"].rows_out
