"""``run-inference-slurm``: job scripts that score fields on a SLURM cluster."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scope_dask.commands._parser import Call, Command, option
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
from scope_dask.errors import OptionError

if TYPE_CHECKING:
    from scope_dask.cluster.batch import BatchJob

ARGUMENTS = (
    option("--scriptname", "inference script, of create-inference-script", default="get_all_preds.sh"),
    option("--dirname", "folder of the job scripts and logs", default="inference"),
    *job_arguments("run_inference"),
    GPUS,
    option("--Ncore", "CPUs of a job", int, 8),
    *SUBMIT,
    *SUBMIT_NODES,
    option("--algorithm", "kind of the models of the script", default="dnn", choices=("dnn", "xgb")),
    *loop_arguments(20, "seconds", 5.0),
)


def run(call: Call) -> None:
    """Write the job scripts, or tell what they would be."""
    if not Path(call.options.scriptname).is_file():
        call.say(f"there is no {call.options.scriptname} yet: create-inference-script makes it")
    write(call, jobs_of(call))


def jobs_of(call: Call) -> dict[Path, BatchJob]:
    """Return the job that scores a field and the one that submits it, by script."""
    from scope_dask.commands.run_inference_job_submission import COMMAND as SUBMISSION

    options = call.options
    if options.Ncore < 1:
        raise OptionError(f"--Ncore is {options.Ncore}, expected 1 or more")
    folder = Path(options.dirname)
    script = Path(options.scriptname)
    job = batch_job(
        call,
        job_profile(call, False, options.Ncore),
        [f'bash {shlex.quote(str(script))} "$FID" "$@"'],
        folder,
        variable="FID",
        about="field or specific_ids",
    )
    words = words_of(call, SUBMISSION)
    submission = submission_job(call, "run_inference_job_submission", words, folder, like=None)
    return {folder / "slurm" / "slurm.sub": job, folder / "slurm" / "slurm_submission.sub": submission}


COMMAND = Command("run-inference-slurm", "Write job scripts that score fields on a SLURM cluster.", ARGUMENTS, run)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
