"""``generate-features-job-submission``: jobs for the quadrants of a quadrant file, until all have their features."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from scope_dask.commands._parser import Call, Command, flag, option
from scope_dask.commands._slurm import (
    SECONDS_PER_MINUTE,
    loop_arguments,
    loop_options,
    read_script,
    submission_arguments,
    submit,
)
from scope_dask.commands.generate_features import COMMAND as GENERATE

if TYPE_CHECKING:
    from scope_dask.cluster.batch import WrittenScript
    from scope_dask.cluster.submission import Task

ARGUMENTS = (
    *submission_arguments("generated_features"),
    option("--filename", "what the names of the features' files begin with", default="gen_features"),
    flag("--doSubmit", "submit jobs, --max-instances at a time; else tell what is done and what would be submitted"),
    flag("--doSubmitLoop", "submit them without waiting for others to end, unless --max-instances is given"),
    flag("--runParallel", "by SLURM; else run one after the other here"),
    *loop_arguments(20, "minutes", 1.0),
)


def run(call: Call) -> int:
    """Submit jobs until all quadrants have their features."""
    from scope_dask.cluster.submission import SerialJobs, SlurmJobs
    from scope_dask.commands._generation import folder_of

    options = call.options
    script = read_script(call, folder_of(call).root, "generate-features-slurm")
    words = ["--filename", options.filename] if "filename" in call.given else []
    variable = "QID"
    jobs = (
        SlurmJobs(script, variable, words, options.user) if options.runParallel else SerialJobs(script, variable, words)
    )
    capped = not options.doSubmitLoop or "max_instances" in call.given
    loop = loop_options(call, options.submit_interval_minutes * SECONDS_PER_MINUTE, capped)
    asked = options.doSubmit or options.doSubmitLoop
    return submit(call, script, tasks_of(call, script), jobs, loop, look=not asked)


def tasks_of(call: Call, script: WrittenScript) -> list[Task]:
    """Return the quadrants, or whatever else the script generates features of.

    Raises
    ------
    SourceError
        If the quadrant file cannot be read.
    """
    from scope_dask.cluster.submission import Task
    from scope_dask.commands._generation import folder_of, what_of
    from scope_dask.generation import FeatureFolder
    from scope_dask.generation.layout import read_jobs

    words = script.words("generate_features")
    several = "$QID" in words
    generation = GENERATE.parse(["0" if word == "$QID" else word for word in words])
    folder = folder_of(generation)
    if "filename" in call.given:
        folder = FeatureFolder(folder.root, call.options.filename)
    # Where files are computed again, or none is written, only the jobs' logs tell what is done.
    by_file = not (generation.options.overwrite or generation.options.doNotSave)
    if not several:
        what = what_of(generation, folder)
        return [Task("0", str(what), folder.file(what) if by_file else None)]
    found = read_jobs(folder.root / "slurm" / generation.options.quadrant_file)
    return [
        Task(str(number), f"job {number} ({quadrant})", folder.file(quadrant) if by_file else None)
        for number, quadrant in found.items()
    ]


COMMAND = Command(
    "generate-features-job-submission",
    "Submit the jobs of generate-features-slurm until all quadrants have their features.",
    ARGUMENTS,
    run,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
