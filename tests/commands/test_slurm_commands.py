"""The commands for SLURM as command lines: the scripts they write, and what can be told without SLURM."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import generation_sky as sky
import pytest
from prediction_tables import save_xgb_models
from training_tables import labelled_table

from scope_dask.cluster.batch import WrittenScript
from scope_dask.cluster.submission import records_path
from scope_dask.commands._parser import boolean
from scope_dask.commands.combine_preds import COMMAND as COMBINE
from scope_dask.commands.generate_features import COMMAND as GENERATE
from scope_dask.formats import write_table

SLURM = Path("generated_features/slurm")
TRY = ["--cluster-name", "one-machine-slurm"]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(name: str, *words: object) -> None:
    assert importlib.import_module(f"scope_dask.commands.{name}").main([str(word) for word in words]) == 0


def fails(name: str, *words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"scope_dask.commands.{name}").main([str(word) for word in words])
    return int(ended.value.code or 0)


def script(path: Path) -> WrittenScript:
    return WrittenScript.read(path, "a test")


def asked(path: Path) -> dict[str, str]:
    lines = [line.removeprefix("#SBATCH ") for line in path.read_text().splitlines() if line.startswith("#SBATCH ")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def every_option() -> list[str]:
    """Return a command line with every option of generate-features, none with its default."""
    given = {
        "--field": "301", "--ccd": "2", "--quad": "4", "--fg-dataset": "some ids.csv", "--quadrant-file": "other.dat",
        "--quadrant-index": "7", "--catalog-path": "Gaia_EDR3=gaia dir", "--period-algorithms": "ELS ECE",
        "--fourier": "documented", "--cluster": "my-site", "--config-path": "config.yaml",
        "--max-timestamp-hjd": "2459000.5",
    }  # fmt: skip
    words = []
    for argument in GENERATE.known.values():
        if argument.name in {"--dry-run", "--check-configs", "--doGPU", "--doSpecificIDs", "--doNotSave"}:
            continue
        if argument.kind is boolean:
            words += [argument.name]
        elif argument.name == "--period-algorithms":
            words += [argument.name, *given[argument.name].split()]
        else:
            words += [argument.name, given.get(argument.name) or ("3" if argument.kind in (int, float) else "thing")]
    return words


def test_a_job_has_every_option_that_was_given(folder) -> None:
    Path("config.yaml").write_text("{}")
    run("generate_features_slurm", *TRY, *every_option())
    words = script(Path("thing/slurm/slurm.sub")).words("generate_features")
    assert vars(GENERATE.parse(words).options) == vars(GENERATE.parse(every_option()).options)


def test_a_job_has_no_option_that_was_not_given(folder, capsys) -> None:
    run("generate_features_slurm", *TRY, "--doCPU")
    found = script(SLURM / "slurm.sub").words("generate_features")
    place = ["--doQuadrantFile", "--quadrant-file", "slurm.dat", "--quadrant-index", "$QID"]
    assert found == ["--doCPU", "--n-workers", "1", *place]
    assert f"there is no {SLURM}/slurm.dat yet: --generateQuadrantFile makes it" in capsys.readouterr().out
    text = (SLURM / "slurm.sub").read_text() + (SLURM / "slurm_submission.sub").read_text()
    assert not any(word in text for word in ("--mail", "--account", "--user", "None"))


def test_what_the_options_of_a_job_ask_for(folder) -> None:
    words = ["--job-name", "survey", "--partition-type", "gpu", "--nodes", "2", "--gpus", "2", "--memory-GB", "5"]
    words += ["--submit-memory-GB", "1", "--submit-partition-type", "all", "--time", "48:00:00"]
    words += ["--mail-user", "somebody@example.org", "--account-name", "abc123", "--python-env-name", "scope-env"]
    run("generate_features_slurm", *TRY, "--doGPU", "--runParallel", *words)
    found = asked(SLURM / "slurm.sub")
    wanted = {
        "--job-name": "survey", "--partition": "gpu", "--nodes": "2", "--gpus": "2", "--mem": "5120M",
        "--time": "2-00:00:00", "--mail-user": "somebody@example.org", "--account": "abc123",
    }  # fmt: skip
    assert {name: found[name] for name in wanted} == wanted
    assert "conda activate scope-env" in (SLURM / "slurm.sub").read_text()
    submission = asked(SLURM / "slurm_submission.sub")
    assert (submission["--partition"], submission["--mem"], submission["--nodes"]) == ("all", "1024M", "1")
    assert "--gpus" not in submission
    assert found["--output"].startswith(f"{folder}/generated_features/logs/survey_%A_%a")


def test_a_profile_is_named_by_its_site(folder) -> None:
    run("generate_features_slurm", "--doGPU", "--cluster-name", "Expanse")
    assert (asked(SLURM / "slurm.sub")["--partition"], asked(SLURM / "slurm.sub")["--gpus"]) == ("gpu-shared", "1")
    run("generate_features_slurm", "--doCPU", "--runParallel")
    found = asked(SLURM / "slurm.sub")
    assert (found["--partition"], found["--cpus-per-task"], "--gpus" in found) == ("shared", "32", False)
    Path("mine.yaml").write_text("{partition: own, gres: 'gpu:v100:1', account: abc}")
    run("generate_features_slurm", "--doGPU", "--cluster-name", "mine.yaml")
    assert (asked(SLURM / "slurm.sub")["--gres"], asked(SLURM / "slurm.sub")["--account"]) == ("gpu:v100:1", "abc")
    run("generate_features_slurm", "--doCPU", "--cluster-name", "mine.yaml", "--gpus", "0")
    assert not {"--gres", "--gpus"} & set(asked(SLURM / "slurm.sub"))
    Path("mine.yaml").write_text("memory_rule: none")
    run("generate_features_slurm", "--cluster-name", "mine.yaml", "--memory-GB", "3")
    assert asked(SLURM / "slurm.sub")["--mem"] == "3072M"
    run("generate_features_slurm", *TRY, "--doGPU")
    assert asked(SLURM / "slurm.sub")["--gpus"] == "1"


def test_in_series_the_submission_asks_for_what_a_job_needs(folder) -> None:
    run("generate_features_slurm", *TRY, "--doCPU", "--memory-GB", "7", "--submit-memory-GB", "1")
    assert asked(SLURM / "slurm_submission.sub")["--mem"] == "7168M"
    words = script(SLURM / "slurm_submission.sub").words("generate_features_job_submission")
    assert words == ["--dirname", "generated_features", "--doSubmit"]


def test_the_submission_has_the_options_of_the_loop(folder) -> None:
    loop = ["--max-instances", "5", "--wait-time-minutes", "2.0", "--submit-interval-minutes", "0.5"]
    loop += ["--doSubmitLoop", "--runParallel", "--user", "somebody"]
    run("generate_features_slurm", *TRY, "--dirname", "a b", "--filename", "gf", *loop)
    words = script(Path("a b/slurm/slurm_submission.sub")).words("generate_features_job_submission")
    from scope_dask.commands.generate_features_job_submission import COMMAND

    expected = ["--dirname", "a b", "--filename", "gf", "--doSubmit", *loop]
    assert vars(COMMAND.parse(words).options) == vars(COMMAND.parse(expected).options)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--field", "301", "--ccd", "2"], ["--field", "301", "--ccd", "2"]),
        (["--doSpecificIDs", "--fg-dataset=x.csv"], ["--doSpecificIDs", "--fg-dataset", "x.csv"]),
        (
            ["--doQuadrantFile", "--quadrant-index", "3"],
            ["--doQuadrantFile", "--quadrant-file", "slurm.dat", "--quadrant-index", "3"],
        ),
    ],
)  # fmt: skip
def test_one_place_is_one_job(folder, words, expected) -> None:
    run("generate_features_slurm", *TRY, "--doGPU", *words)
    assert sorted(script(SLURM / "slurm.sub").words("generate_features")) == sorted(["--doGPU", *expected])
    assert "QID" not in (SLURM / "slurm.sub").read_text()


def test_the_quadrant_file_from_kowalski_and_from_an_archive(workplace, folder, capsys) -> None:
    with sky_server() as server:
        sky.configure(server)
        run("generate_features_slurm", *TRY, "--generateQuadrantFile", "--field-list", "300", "301")
        assert (SLURM / "slurm.dat").read_text() == "0 301 2 3\n1 301 2 4\n"
        assert "2 quadrants of 1 fields in generated_features/slurm/slurm.dat" in capsys.readouterr().out
        assert fails("generate_features_slurm", *TRY, "--generateQuadrantFile", "--field-list", "300") == 2
        assert "none of the fields has sources in ZTF_sources_20230109" in capsys.readouterr().err
    archive = str(sky.save(folder)["archive"])
    (SLURM / "slurm.dat").unlink()
    run("generate_features_slurm", *TRY, "--generateQuadrantFile", "--source-archive", archive, "--skipCloseSources")
    assert (SLURM / "slurm.dat").read_text() == "0 301 2 3\n1 301 2 4\n"
    words = script(SLURM / "slurm.sub").words("generate_features")
    capsys.readouterr()
    run("generate_features", *["1" if word == "$QID" else word for word in words], "--dry-run")
    assert "field_301_ccd_2_quad_4.parquet" in capsys.readouterr().out


def sky_server():
    import contextlib

    return contextlib.closing(sky.server())


def test_submitted_quadrants_keep_their_numbers(folder, capsys) -> None:
    archive = str(sky.save(folder)["archive"])
    words = ["--generateQuadrantFile", "--source-archive", archive]
    run("generate_features_slurm", *TRY, *words)
    (SLURM / "slurm.dat").write_text("0 301 2 4\n")
    records_path(SLURM / "slurm.sub").write_text('{"job":"1","task":"0"}\n')
    assert fails("generate_features_slurm", *TRY, *words) == 2
    assert "has other quadrants, and jobs of it were submitted" in capsys.readouterr().err
    (SLURM / "slurm.dat").write_text("0 301 2 3\n1 301 2 4\n")
    run("generate_features_slurm", *TRY, *words)
    assert records_path(SLURM / "slurm.sub").exists()
    run("generate_features_slurm", *TRY, *words, "--max-freq", "24")
    assert not records_path(SLURM / "slurm.sub").exists(), "of another script nothing has failed yet"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--doCPU", "--doGPU"], "--doCPU and --doGPU are both given: one of them decides"),
        (["--doQuadrantFile", "--doSpecificIDs"], "--doQuadrantFile and --doSpecificIDs are both given"),
        (["--cluster-name", "Expanze"], "--cluster-name is Expanze, and there is no cluster profile"),
        (["--cluster-name", "local"], "--cluster-name is local, and that profile is not one of SLURM"),
        (["--time", "2 days"], "walltime is '2 days'; expected hours:minutes:seconds"),
        (["--memory-GB", "0"], "memory is 0 GiB"),
        (["--nodes", "0"], "the number of nodes is 0, expected 1 or more"),
        (["--gpus", "-1"], "--gpus is -1, expected 0 or more"),
        (["--job-name", "a b"], "the name of the job is 'a b', expected letters"),
        (["--field-list", "301"], "--field-list is given without --generateQuadrantFile"),
        (["--doCPU", "--period-algorithms", "XYZ"], "there is no period algorithm 'XYZ'"),
        (["--max-instance", "3"], "there is no option --max-instance (did you mean --max-instances"),
    ],
)
def test_what_is_wrong_is_one_sentence(folder, capsys, words, said) -> None:
    assert fails("generate_features_slurm", *words) == 2
    assert said in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_a_dry_run_prints_the_scripts_and_writes_nothing(folder, capsys) -> None:
    Path("train.sh").write_text("scope-train --tag vnv --algorithm xgb\n")
    for name, words in (
        ("generate_features_slurm", ["--generateQuadrantFile"]),
        ("train_algorithm_slurm", ["--scriptname", "train.sh"]),
        ("run_inference_slurm", []),
        ("combine_preds_slurm", []),
    ):
        run(name, *TRY, "--dry-run", *words)
        assert "#SBATCH --partition=cpu" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["train.sh"]


def test_in_series_jobs_run_here_and_what_failed_is_listed(folder, capsys) -> None:
    run("generate_features_slurm", *TRY, "--source-archive", "nowhere", "--runParallel")
    (SLURM / "slurm.dat").write_text("0 301 2 3\n1 301 2 4\n")
    made = Path("generated_features/field_301/gen_features_field_301_ccd_2_quad_3.parquet")
    made.parent.mkdir()
    made.touch()
    run("generate_features_job_submission")
    assert "1 of 2 done, 1 to submit\nwould submit job 1 (field 301, CCD 2, quadrant 4)" in capsys.readouterr().out
    capsys.readouterr()
    from scope_dask.commands.generate_features_job_submission import main

    assert main(["--doSubmit", "--retries", "0"]) == 1
    said = capsys.readouterr().out
    assert "1 of 2 done, 1 failed\njob 1 (field 301, CCD 2, quadrant 4): 1 jobs, the last in " in said
    assert "1 failed; --reset-running tries them again" in said
    assert main(["--doSubmit", "--retries", "0"]) == 1
    assert len(list(Path("generated_features/logs").glob("*.err"))) == 1
    assert main(["--doSubmit", "--retries", "0", "--reset-running", "--filename", "other"]) == 1
    assert len(list(Path("generated_features/logs").glob("*_0.err"))) == 1, "the other name is of no file"
    run("analyze_logs", "--logs-path", "generated_features/logs")
    said = capsys.readouterr().out
    assert "3 logs of 2 tasks: 0 done, 2 not" in said
    assert "2 failed: " in said


def test_a_line_of_training_is_kept_as_it_is(folder, capsys) -> None:
    line = "scope-train --tag vnv --algorithm xgb --path-dataset 'a b.csv' --group mine --period-suffix LS --save"
    again = "scope-train --tag vnv --gpu 1 --random-state 9"
    Path("train_script.sh").write_text(f"#!/bin/bash\n\n# Classes\n{line}\n{again}\n")
    run(
        "train_algorithm_slurm",
        *TRY,
        "--Ncore",
        "3",
        "--submit-Ncore",
        "2",
        "--submit-nodes",
        "2",
        "--max-instances",
        "4",
    )
    text = Path("training/slurm/slurm.sub").read_text()
    arguments = line.removeprefix("scope-train ")
    assert f'  vnv) {sys.executable} -m scope_dask.commands.scope_train {arguments} "$@" ;;\n' in text
    assert "  vnv_2) " in text
    assert "--random-state 9" in text
    assert "export OMP_NUM_THREADS=3\n" in text
    assert (
        asked(Path("training/slurm/slurm.sub"))["--cpus-per-task"],
        asked(Path("training/slurm/slurm.sub"))["--gpus"],
    ) == ("3", "1")
    found = asked(Path("training/slurm/slurm_submission.sub"))
    assert (found["--cpus-per-task"], found["--nodes"], "--gpus" in found) == ("2", "2", False)
    assert "--max-instances 4" in Path("training/slurm/slurm_submission.sub").read_text()
    assert "sbatch --export=ALL,TID=<class of train_script.sh> " in capsys.readouterr().out
    run("train_algorithm_slurm", *TRY, "--sweep")
    assert "--random-state 9 --run-sweeps" in Path("training/slurm/slurm_sweep.sub").read_text()
    assert "--sweep" in Path("training/slurm/slurm_sweep_submission.sub").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            None,
            "the training script train_script.sh cannot be read (No such file or directory): create-training-script",
        ),
        (
            "for class in a b; do\n",
            "line 1 is 'for class in a b; do', expected a line of scope-train without variables",
        ),
        ("\nscope-train --tagg vnv\n", "line 2: there is no option --tagg (did you mean --tag"),
        ("# nothing\n", "train_script.sh has no lines of scope-train"),
    ],
)
def test_a_training_script_that_cannot_be_used(folder, capsys, text, said) -> None:
    if text is not None:
        Path("train_script.sh").write_text(text)
    assert fails("train_algorithm_slurm", *TRY) == 2
    assert said in capsys.readouterr().err


def test_the_training_script_is_made_where_it_is_not_there(folder) -> None:
    write_table(labelled_table(120), folder / "set.parquet", {"fourier": "raw"})
    Path("config.yaml").write_text(json.dumps({"training": {"dataset": "set.parquet"}}))
    run("train_algorithm_slurm", *TRY, "--generateTrainingFile", "--config-path", "config.yaml")
    assert "scope-train --tag" in Path("train_script.sh").read_text()
    assert Path("training/slurm/slurm.sub").is_file()


def test_a_submission_of_another_training_script(folder, capsys) -> None:
    Path("train_script.sh").write_text("scope-train --tag vnv\n")
    run("train_algorithm_slurm", *TRY)
    Path("train_script.sh").write_text("scope-train --tag pnp\n")
    assert fails("train_algorithm_job_submission") == 2
    assert "does not train pnp of train_script.sh: write it again with train-algorithm-slurm" in capsys.readouterr().err
    assert fails("train_algorithm_job_submission", "--sweep") == 2
    assert "slurm_sweep.sub cannot be read" in capsys.readouterr().err


def test_classes_with_a_model_of_the_group_are_left_out(folder, capsys, monkeypatch) -> None:
    Path("train_script.sh").write_text("scope-train --tag vnv --algorithm xgb\n")
    run("train_algorithm_slurm", *TRY)
    save_xgb_models(Path("models_xgb/mine"))
    capsys.readouterr()
    run("train_algorithm_job_submission", "--group-name", "mine")
    assert capsys.readouterr().out == "1 classes have a model of the group mine already\nnothing is left to do\n"
    monkeypatch.setenv("PATH", "/nowhere")
    assert fails("train_algorithm_job_submission", "--group-name", "other") == 1
    assert "there is no squeue on this machine" in capsys.readouterr().err


def test_a_job_of_inference_calls_the_script(folder, capsys) -> None:
    run(
        "run_inference_slurm",
        *TRY,
        "--scriptname",
        "my preds.sh",
        "--algorithm",
        "xgb",
        "--Ncore",
        "2",
        "--job-name",
        "inf",
    )
    assert "there is no my preds.sh yet: create-inference-script makes it" in capsys.readouterr().out
    assert '\nbash \'my preds.sh\' "$FID" "$@"\n' in Path("inference/slurm/slurm.sub").read_text()
    found = asked(Path("inference/slurm/slurm.sub"))
    assert (found["--job-name"], found["--cpus-per-task"]) == ("inf", "2")
    words = script(Path("inference/slurm/slurm_submission.sub")).words("run_inference_job_submission")
    assert words == ["--algorithm", "xgb"]
    assert fails("run_inference_job_submission") == 2
    assert "there is no my preds.sh, which " in capsys.readouterr().err


def test_a_job_that_combines_has_every_option_that_was_given(folder) -> None:
    given = ["--path-to-preds", "p", "--merge-dnn-xgb", "--agg-method", "max", "--p-threshold", "0.6", "--write-csv"]
    run("combine_preds_slurm", *TRY, "--Ncore", "2", "--dirname", "combined", *given)
    words = script(Path("combined/slurm/slurm.sub")).words("combine_preds")
    assert vars(COMBINE.parse(words).options) == vars(COMBINE.parse(given).options)
    assert asked(Path("combined/slurm/slurm.sub"))["--cpus-per-task"] == "2"
