"""``combine-preds-slurm``: a job script that combines predictions on a SLURM cluster."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from scope_dask.commands._parser import Call, Command, option
from scope_dask.commands._slurm import batch_job, job_arguments, job_profile, words_of, write
from scope_dask.commands.combine_preds import ARGUMENTS as COMBINATION
from scope_dask.commands.combine_preds import COMMAND as COMBINE
from scope_dask.commands.combine_preds import how_of
from scope_dask.errors import OptionError

ARGUMENTS = (
    *COMBINATION,
    option("--dirname", "folder of the job script and its logs", default="combine_preds"),
    *job_arguments("combine_preds"),
    option("--Ncore", "CPUs of the job", int, 1),
)


def run(call: Call) -> None:
    """Write the job script, or tell what it would be."""
    options = call.options
    if options.Ncore < 1:
        raise OptionError(f"--Ncore is {options.Ncore}, expected 1 or more")
    how_of(call)
    folder = Path(options.dirname)
    line = shlex.join(["-m", "scope_dask.commands.combine_preds", *words_of(call, COMBINE)])
    job = batch_job(call, job_profile(call, False, options.Ncore), [f'{{python}} {line} "$@"'], folder)
    write(call, {folder / "slurm" / "slurm.sub": job})


COMMAND = Command(
    "combine-preds-slurm", "Write a job script that combines predictions on a SLURM cluster.", ARGUMENTS, run
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
