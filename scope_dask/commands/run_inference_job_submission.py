"""``run-inference-job-submission``: a job for each field, until all fields have their predictions."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scope_dask.commands._parser import Call, Command, option, values
from scope_dask.commands._slurm import loop_arguments, loop_options, read_script, submission_arguments, submit
from scope_dask.errors import SourceError

if TYPE_CHECKING:
    from scope_dask.cluster.batch import WrittenScript
    from scope_dask.cluster.submission import Task

ARGUMENTS = (
    *submission_arguments("inference"),
    option("--algorithm", "kind of the models of the script", default="dnn", choices=("dnn", "xgb")),
    values(
        "--fields",
        "fields, specific_ids or <label>_specific_ids",
        default=(296,),
        config=("inference", "fields_to_run"),
    ),
    option("--path-to-preds", "folder of preds_dnn and preds_xgb", default=".", config=("inference", "path_to_preds")),
    *loop_arguments(20, "seconds", 5.0),
)


def run(call: Call) -> int:
    """Submit jobs until all fields have their predictions."""
    from scope_dask.cluster.submission import SlurmJobs

    options = call.options
    script = read_script(call, Path(options.dirname), "run-inference-slurm")
    jobs = SlurmJobs(script, "FID", user=options.user)
    return submit(call, script, tasks_of(call, script), jobs, loop_options(call, options.submit_interval_seconds))


def tasks_of(call: Call, script: WrittenScript) -> list[Task]:
    """Return the fields; predictions older than the inference script are none.

    Raises
    ------
    OptionError, SourceError
    """
    from scope_dask.cluster.submission import Task
    from scope_dask.predictions.layout import Target

    options = call.options
    inference = inference_script(script)
    since = inference.stat().st_mtime
    root = Path(os.path.expanduser(options.path_to_preds))
    targets = [Target(str(field)) for field in dict.fromkeys(options.fields)]
    return [Task(target.field, str(target), target.predictions(root, options.algorithm), since) for target in targets]


def inference_script(script: WrittenScript) -> Path:
    """Return the script that a job calls with its field.

    Raises
    ------
    SourceError
        If there is none.
    """
    words = next((shlex.split(line) for line in script.lines if line.startswith("bash ")), None)
    path = Path(words[1]) if words else None
    if path is None or not path.is_file():
        raise SourceError(
            f"there is no {path or 'inference script'}, which {script.path} calls: create-inference-script makes it"
        )
    return path


COMMAND = Command(
    "run-inference-job-submission",
    "Submit the jobs of run-inference-slurm until all fields have their predictions.",
    ARGUMENTS,
    run,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
