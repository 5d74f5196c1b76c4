"""``generate-features-slurm``: job scripts that generate the features of many quadrants on a SLURM cluster."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scope_dask.commands._parser import Call, Command, flag, values
from scope_dask.commands._slurm import (
    GPUS,
    SUBMIT,
    batch_job,
    job_arguments,
    job_profile,
    loop_arguments,
    submission_job,
    words_of,
    write,
)
from scope_dask.commands.generate_features import ARGUMENTS as GENERATION
from scope_dask.commands.generate_features import COMMAND as GENERATE
from scope_dask.errors import OptionError, UsageError

if TYPE_CHECKING:
    from scope_dask.cluster.batch import BatchJob
    from scope_dask.generation import FeatureFolder, Quadrant

LOOP = loop_arguments(20, "minutes", 1.0)
OWN = (
    *job_arguments("ztf_fg"),
    GPUS,
    *SUBMIT,
    flag("--generateQuadrantFile", "write --quadrant-file: the quadrants that have sources, numbered"),
    values("--field-list", "fields of the quadrant file; if not given, all that have sources", int),
    *LOOP,
    flag("--doSubmitLoop", "the submission does not stop at 20 jobs, unless --max-instances is given"),
    flag("--runParallel", "the submission gives each quadrant a job; else it runs one after the other itself"),
)
PLACE = ("doQuadrantFile", "quadrant_file", "quadrant_index")


def run(call: Call) -> None:
    """Write the quadrant file and the scripts, or tell what they would be."""
    generation = checked(call)
    folder = feature_folder(call)
    if call.options.field_list and not call.options.generateQuadrantFile:
        raise OptionError("--field-list is given without --generateQuadrantFile, which it is for")
    jobs = jobs_of(call, generation, folder)
    if call.options.generateQuadrantFile:
        write_quadrants(call, folder)
    elif by_file(call) and not quadrant_file(call, folder).is_file():
        call.say(f"there is no {quadrant_file(call, folder)} yet: --generateQuadrantFile makes it")
    write(call, jobs)


def checked(call: Call) -> Call:
    """Return the call of generate-features that a job makes, without its place; its options are checked.

    Raises
    ------
    OptionError
    """
    from scope_dask.commands._generation import check_device, options_of
    from scope_dask.generation.origins import named_paths

    generation = GENERATE.parse([*words_of(call, GENERATE), "--dry-run"])
    check_device(generation)
    options_of(generation)
    named_paths(generation.options.catalog_path or [])
    if by_file(call) and call.options.doSpecificIDs:
        raise OptionError("--doQuadrantFile and --doSpecificIDs are both given: one of them decides")
    return generation


def feature_folder(call: Call) -> FeatureFolder:
    """Return the folder of the features."""
    from scope_dask.commands._generation import folder_of

    return folder_of(call)


def quadrant_file(call: Call, folder: FeatureFolder) -> Path:
    return folder.root / "slurm" / str(call.options.quadrant_file)


def by_file(call: Call) -> bool:
    """Whether jobs take their quadrants from the quadrant file: unless one place is named."""
    if call.options.doQuadrantFile or call.options.generateQuadrantFile:
        return True
    return not call.options.doSpecificIDs and not call.given & {"field", "ccd", "quad"}


def jobs_of(call: Call, generation: Call, folder: FeatureFolder) -> dict[Path, BatchJob]:
    """Return the job that generates features and the one that submits it, by script."""
    options = call.options
    profile = job_profile(call, bool(options.doGPU))
    words = words_of(call, GENERATE, leave=PLACE)
    if not (options.doGPU or options.cluster or options.n_workers):
        words += ["--n-workers", str(profile.cpus)]  # where SLURM does not bind a job to its CPUs
    line = shlex.join(["-m", "scope_dask.commands.generate_features", *words])
    fixed = not by_file(call) or "quadrant_index" in call.given
    if by_file(call):
        index = shlex.quote(str(options.quadrant_index)) if fixed else '"$QID"'
        line += f" --doQuadrantFile --quadrant-file {shlex.quote(options.quadrant_file)} --quadrant-index {index}"
    job = batch_job(
        call,
        profile,
        [f'{{python}} {line} "$@"'],
        folder.root,
        variable=None if fixed else "QID",
        about=f"job of {options.quadrant_file}",
    )
    scripts = folder.root / "slurm"
    submission = submission_job(
        call,
        "generate_features_job_submission",
        submission_words(call),
        folder.root,
        None if options.runParallel else profile,
    )
    return {scripts / "slurm.sub": job, scripts / "slurm_submission.sub": submission}


def submission_words(call: Call) -> list[str]:
    """Return the words of generate-features-job-submission in its script."""
    from scope_dask.commands.generate_features_job_submission import COMMAND as SUBMISSION

    words = words_of(call, SUBMISSION, leave=("dirname",))
    return ["--dirname", str(call.options.dirname), *words, "--doSubmit"]


def write_quadrants(call: Call, folder: FeatureFolder) -> None:
    """Write the quadrant file, or tell which it would be.

    Raises
    ------
    UsageError
        If no quadrant has sources, or jobs of another quadrant file of this name were submitted.
    """
    from scope_dask.cluster.submission import records_path
    from scope_dask.formats.atomic import replacing
    from scope_dask.generation.layout import format_jobs

    path = quadrant_file(call, folder)
    if call.dry_run:
        call.say(f"would look for the quadrants with sources, and write {path}")
        return
    quadrants = populated(call)
    if not quadrants:
        raise UsageError(
            f"none of the fields has sources in {call.options.source_archive or call.options.source_catalog}"
        )
    text = format_jobs(quadrants)
    submitted = records_path(path.with_name("slurm.sub"))
    if path.is_file() and path.read_text() != text and submitted.is_file():
        raise UsageError(
            f"{path} has other quadrants, and jobs of it were submitted: name a new one with --quadrant-file, "
            f"or delete {submitted.name} beside it when none of them runs any more"
        )
    with replacing(path) as temporary:
        temporary.write_text(text)
    call.say(f"{len(quadrants)} quadrants of {len({q.field for q in quadrants})} fields in {path}")


def populated(call: Call) -> Sequence[Quadrant]:
    """Return the quadrants that have sources, by field, CCD and quadrant.

    Raises
    ------
    SourceError, KowalskiError
    """
    from scope_dask.commands._generation import origin_of
    from scope_dask.commands.check_quads_for_sources import FIELDS, counts_by_field
    from scope_dask.generation import ArchiveOrigin, KowalskiOrigin, Quadrant

    origin = origin_of(call)
    wanted = sorted(set(call.options.field_list or ()))
    if isinstance(origin, ArchiveOrigin):
        return origin.quadrants(wanted or None)
    assert isinstance(origin, KowalskiOrigin)
    found: list[Quadrant] = []
    for field, table in counts_by_field(origin.kowalski, wanted or range(FIELDS), origin.name):
        pairs = zip(table["ccd"], table["quad"], strict=True)
        found += [Quadrant(field, int(ccd), int(quad)) for ccd, quad in pairs]
    return found


COMMAND = Command(
    "generate-features-slurm",
    "Write job scripts that generate the features of many quadrants on a SLURM cluster.",
    (*GENERATION, *OWN),
    run,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
