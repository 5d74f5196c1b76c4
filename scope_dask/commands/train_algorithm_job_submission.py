"""``train-algorithm-job-submission``: a job for each class of a training script, until all are trained."""

from __future__ import annotations

import sys
from pathlib import Path

from scope_dask.commands._parser import Call, Command, flag, option
from scope_dask.commands._slurm import loop_arguments, loop_options, read_script, submission_arguments, submit
from scope_dask.commands.train_algorithm_slurm import script_name, trainings
from scope_dask.errors import SourceError

ARGUMENTS = (
    *submission_arguments("training"),
    option("--scriptname", "training script whose classes are trained", default="train_script.sh"),
    *loop_arguments(100, "seconds", 5.0),
    flag("--sweep", "submit slurm_sweep.sub, which searches the options of the networks first"),
    option("--group-name", "classes with a model of this group are left out"),
)


def run(call: Call) -> int:
    """Submit jobs until all classes are trained."""
    from scope_dask.cluster.submission import SlurmJobs, Task

    options = call.options
    name = script_name(options.sweep, options.filetype)
    script = read_script(call, Path(options.dirname), "train-algorithm-slurm", name)
    trained = trainings(Path(options.scriptname))
    if missing := [tag for tag in trained if not any(line.startswith(f"  {tag}) ") for line in script.lines)]:
        raise SourceError(
            f"{script.path} does not train {missing[0]} of {options.scriptname}: "
            "write it again with train-algorithm-slurm"
        )
    tasks = [Task(tag, tag) for tag, words in trained.items() if not has_model(call, words)]
    if left := len(trained) - len(tasks):
        call.say(f"{left} classes have a model of the group {options.group_name} already")
    loop = loop_options(call, options.submit_interval_seconds)
    return submit(call, script, tasks, SlurmJobs(script, "TID", user=options.user), loop)


def has_model(call: Call, words: list[str]) -> bool:
    """Whether the group of ``--group-name`` has a model of the class that a line trains."""
    from scope_dask.commands._training import models_folder, newest_model
    from scope_dask.commands.scope_train import COMMAND as TRAIN

    if not call.options.group_name:
        return False
    training = TRAIN.parse(words).options
    return newest_model(models_folder(training.algorithm, call.options.group_name), training.tag) is not None


COMMAND = Command(
    "train-algorithm-job-submission",
    "Submit the jobs of train-algorithm-slurm until all classes are trained.",
    ARGUMENTS,
    run,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
