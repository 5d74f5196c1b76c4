"""``train-algorithm-slurm``: job scripts that train the classifiers of a training script on a SLURM cluster."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scope_dask.commands._parser import Call, Command, flag, option
from scope_dask.commands._slurm import (
    GPUS,
    SUBMIT,
    SUBMIT_NODES,
    batch_job,
    job_arguments,
    job_profile,
    loop_arguments,
    submission_job,
    words_of,
    write,
)
from scope_dask.errors import OptionError, SourceError

if TYPE_CHECKING:
    from scope_dask.cluster.batch import BatchJob

MODULE = "-m scope_dask.commands.scope_train"
ARGUMENTS = (
    option("--scriptname", "training script, of create-training-script", default="train_script.sh"),
    option("--dirname", "folder of the job scripts and logs", default="training"),
    *job_arguments("train"),
    GPUS,
    option("--Ncore", "CPUs of a job", int, 4),
    *SUBMIT,
    *SUBMIT_NODES,
    flag("--generateTrainingFile", "make --scriptname by create-training-script first, where it is not there"),
    *loop_arguments(20, "seconds", 5.0),
    flag("--sweep", "jobs search the options of the networks first (--run-sweeps); their script is slurm_sweep.sub"),
)


def run(call: Call) -> None:
    """Write the job scripts, or tell what they would be."""
    script = Path(call.options.scriptname)
    if call.options.generateTrainingFile and not script.is_file():
        from scope_dask.commands.create_training_script import COMMAND as CREATE

        words = ["--filename", str(script), *(["--dry-run"] if call.dry_run else [])]
        CREATE.run(CREATE.parse([*words, *words_of(call, CREATE)]))
        if call.dry_run:
            return
    write(call, jobs_of(call, trainings(script)))


def trainings(script: Path) -> dict[str, list[str]]:
    """Return the words of scope-train for each line of a training script, by class; of several, ``<class>_2`` …

    Raises
    ------
    SourceError
        If the script is absent, or a line is not one of scope-train.
    """
    from scope_dask.commands.scope_train import COMMAND as TRAIN

    try:
        lines = script.read_text().splitlines()
    except OSError as error:
        raise SourceError(
            f"the training script {script} cannot be read ({error.strerror}): create-training-script makes it"
        ) from None
    found: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 1):
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] != "scope-train":
            raise SourceError(f"{script}, line {number} is {line!r}, expected a line of scope-train without variables")
        try:
            tag = TRAIN.parse(words[1:]).options.tag
        except OptionError as error:
            raise SourceError(f"{script}, line {number}: {error}") from None
        if tag is None:
            raise SourceError(f"{script}, line {number} has no --tag: a job trains one class")
        again = sum(name.rpartition("_")[0] == tag or name == tag for name in found)
        found[f"{tag}_{again + 1}" if again else tag] = words[1:]
    if not found:
        raise SourceError(f"{script} has no lines of scope-train: create-training-script makes it")
    return found


def script_name(sweep: bool, base: str = "slurm") -> str:
    """Return the name of the job script, without ``.sub``."""
    return f"{base}_sweep" if sweep else base


def choice(trained: dict[str, list[str]], sweep: bool) -> list[str]:
    """Return the lines of shell that train the class of ``TID``."""
    more = ["--run-sweeps"] if sweep else []
    cases = [f'  {name}) {{python}} {MODULE} {shlex.join([*words, *more])} "$@" ;;' for name, words in trained.items()]
    return ['case "$TID" in', *cases, '  *) echo "there is no class $TID" >&2; exit 2 ;;', "esac"]


def jobs_of(call: Call, trained: dict[str, list[str]]) -> dict[Path, BatchJob]:
    """Return the job that trains and the one that submits it, by script."""
    from scope_dask.commands.train_algorithm_job_submission import COMMAND as SUBMISSION

    options = call.options
    if options.Ncore < 1:
        raise OptionError(f"--Ncore is {options.Ncore}, expected 1 or more")
    folder = Path(options.dirname)
    profile = job_profile(call, any("--gpu" in words for words in trained.values()), options.Ncore)
    job = batch_job(
        call,
        profile,
        choice(trained, options.sweep),
        folder,
        variable="TID",
        about=f"class of {options.scriptname}",
        threads=options.Ncore,
    )
    name = script_name(options.sweep)
    submission = submission_job(call, "train_algorithm_job_submission", words_of(call, SUBMISSION), folder, like=None)
    return {folder / "slurm" / f"{name}.sub": job, folder / "slurm" / f"{name}_submission.sub": submission}


COMMAND = Command(
    "train-algorithm-slurm",
    "Write job scripts that train the classifiers of a training script on a SLURM cluster.",
    ARGUMENTS,
    run,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
