"""What the commands for SLURM share: options of jobs, writing their scripts, submitting them until all are done."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scope_dask.commands._parser import Argument, Call, Command, boolean, flag, option
from scope_dask.errors import OptionError, SourceError

if TYPE_CHECKING:
    from scope_dask.cluster.batch import BatchJob, WrittenScript
    from scope_dask.cluster.profile import ClusterProfile
    from scope_dask.cluster.submission import Jobs, LoopOptions, Task

SECONDS_PER_MINUTE = 60.0
_PROFILE = "that of the profile if not given"


def job_arguments(job_name: str) -> tuple[Argument, ...]:
    """Return the options for what a job asks for."""
    return (
        option("--job-name", "name of the jobs", default=job_name),
        option(
            "--cluster-name",
            "cluster profile: a file, or the name of a packaged one, with or without -cpu and -gpu",
            default="Expanse",
        ),
        option("--partition-type", f"partition; {_PROFILE}"),
        option("--nodes", "nodes of a job", int, 1),
        option("--memory-GB", f"memory of a job in GB; {_PROFILE}", int),
        option("--time", f"longest time of a job, such as 48:00:00; {_PROFILE}"),
        option("--mail-user", "address that is told when a job begins and ends"),
        option("--account-name", f"account of the allocation; {_PROFILE}"),
        option(
            "--python-env-name", "Python environment to activate: a folder, or one of conda; if not given, this Python"
        ),
    )


GPUS = option(
    "--gpus", "GPUs of a job; if not given, those of the profile, and one where the job computes on a GPU", int
)
SUBMIT = (
    option("--submit-partition-type", f"partition of the job that submits the others; {_PROFILE}"),
    option("--submit-memory-GB", "its memory in GB", int, 16),
)
SUBMIT_NODES = (
    option("--submit-nodes", "its nodes", int, 1),
    option("--submit-Ncore", "its CPUs", int, 1),
)


def loop_arguments(instances: int, unit: str, interval: float) -> tuple[Argument, ...]:
    """Return the options of a submission; its intervals are in `unit`, ``minutes`` or ``seconds``."""
    return (
        option("--max-instances", "most jobs in the queue at a time", int, instances),
        option("--wait-time-minutes", "time between two looks at the queue", float, 5.0),
        option(f"--submit-interval-{unit}", "time between two submissions", float, interval),
        option("--user", "whose jobs are looked for in the queue; yours if not given"),
    )


def submission_arguments(dirname: str) -> tuple[Argument, ...]:
    """Return the options that every submission has beside those of its loop."""
    return (
        option("--dirname", "folder of the job script, which is in its folder slurm", default=dirname),
        option("--filetype", "name of the job script without .sub", default="slurm", aliases=("-f",)),
        option("--retries", "how often a job that failed is submitted again", int, 2),
        flag("--reset-running", "forget which jobs failed: they are submitted again"),
    )


def words_of(call: Call, command: Command, leave: Sequence[str] = ()) -> list[str]:
    """Return the options of `command` that were given in a call of another one, as words of a command line.

    ``--config-path`` and ``--verbose`` are among them, options named in `leave` are not.
    """
    words: list[str] = []
    for argument in command.known.values():
        if argument.dest not in call.given or argument.dest in {"dry_run", "check_configs", *leave}:
            continue
        value = getattr(call.options, argument.dest)
        if argument.kind is boolean:
            words += [argument.name] if value else [argument.name, "false"]
        elif argument.many:
            words += [argument.name, *map(str, value)]
        else:
            words += [f"{argument.name}={value}"] if str(value).startswith("-") else [argument.name, str(value)]
    return words


def job_profile(call: Call, gpu: bool, cpus: int | None = None) -> ClusterProfile:
    """Return what a job asks for: the profile of ``--cluster-name``, changed by the options.

    Parameters
    ----------
    call : Call
    gpu : bool
        Whether it computes on a GPU.
    cpus : int, optional
        By default the profile's.

    Raises
    ------
    OptionError, SourceError
    """
    options = call.options
    gpus = getattr(options, "gpus", None)
    return _changed(
        call,
        _with_gpus(_site(options.cluster_name, gpu or bool(gpus)), gpus, gpu),
        partition=options.partition_type,
        memory=options.memory_GB,
        cpus=cpus,
    )


def submission_profile(call: Call) -> ClusterProfile:
    """Return what the job asks for that submits the others."""
    options = call.options
    return _changed(
        call,
        _with_gpus(_site(options.cluster_name, False), 0, False),
        partition=options.submit_partition_type,
        memory=options.submit_memory_GB,
        cpus=getattr(options, "submit_Ncore", 1),
    )


def _site(name: str, gpu: bool) -> ClusterProfile:
    from scope_dask.cluster.profile import find_profile, load_profile

    names = [name] if "/" in name else [name, f"{name.lower()}-{'gpu' if gpu else 'cpu'}"]
    for one in names:
        try:
            find_profile(one)
        except SourceError as error:
            missing = error
            continue
        profile = load_profile(one)
        if profile.system != "slurm":
            raise OptionError(f"--cluster-name is {name}, and that profile is not one of SLURM")
        return profile
    raise OptionError(f"--cluster-name is {name}, and {missing}")


def _with_gpus(profile: ClusterProfile, count: int | None, gpu: bool) -> ClusterProfile:
    """Return the profile with so many GPUs; None: its own, or one where it has none and one is needed."""
    asked = [line for line in profile.directives if line.startswith(("--gpus", "--gres=gpu"))]
    has = bool(asked) or (profile.gres or "").startswith("gpu")
    if count is None and (has or not gpu):
        return profile
    if count is not None and count < 0:
        raise OptionError(f"--gpus is {count}, expected 0 or more")
    number = 1 if count is None else count
    others = tuple(line for line in profile.directives if line not in asked)
    gres = None if (profile.gres or "").startswith("gpu") else profile.gres
    return replace(profile, gres=gres, directives=(*others, *([f"--gpus={number}"] if number else [])))


def _changed(
    call: Call, profile: ClusterProfile, partition: str | None, memory: int | None, cpus: int | None
) -> ClusterProfile:
    options = call.options
    changes: dict[str, Any] = {
        "partition": partition,
        "account": options.account_name,
        "walltime": options.time,
        "memory": None if memory is None else f"{memory} GiB",
        "memory_rule": "mem" if memory is not None and profile.memory_rule == "none" else None,
        "cpus_per_job": profile.cpus if cpus is None else cpus,
    }
    # One program in place of workers, which no lifetime ends.
    single: dict[str, Any] = {"workers_per_job": 1, "threads_per_worker": 1, "lifetime": None, "lifetime_stagger": None}
    try:
        return replace(profile, **single, **{k: v for k, v in changes.items() if v is not None})
    except OptionError as error:
        raise OptionError(f"--cluster-name {options.cluster_name} with these options: {error}") from None


def batch_job(call: Call, profile: ClusterProfile, lines: Sequence[str], folder: Path, **more: Any) -> BatchJob:
    """Return a job of a script below `folder`, which has the options of `job_arguments`."""
    from scope_dask.cluster.batch import BatchJob

    options = call.options
    stated = {"name": options.job_name, "nodes": options.nodes, **more}
    return BatchJob(
        profile=profile,
        lines=lines,
        logs=folder / "logs",
        mail_user=options.mail_user,
        python_env=options.python_env_name,
        **stated,
    )


def submission_job(
    call: Call, module: str, words: Sequence[str], folder: Path, like: ClusterProfile | None
) -> BatchJob:
    """Return the job that submits the others; with `like` it runs them itself, and asks for what they need."""
    return batch_job(
        call,
        submission_profile(call) if like is None else like,
        [f"{{python}} -m scope_dask.commands.{module} {shlex.join(words)}"],
        folder,
        name=f"submit_{call.options.job_name}",
        nodes=getattr(call.options, "submit_nodes", 1),
    )


def write(call: Call, jobs: dict[Path, BatchJob]) -> None:
    """Write job scripts, or print them; of one that changes it is forgotten which of its jobs failed."""
    from scope_dask.cluster.batch import write_scripts
    from scope_dask.cluster.submission import forget_submitted

    scripts = {path.absolute(): job.text() for path, job in jobs.items()}
    if call.dry_run:
        for path, text in scripts.items():
            call.say(f"would write {path}:\n{text}")
        return
    for job in jobs.values():
        job.logs.mkdir(parents=True, exist_ok=True)
    for path in write_scripts(scripts):
        forget_submitted(path)
    for path, job in jobs.items():
        which = f"--export=ALL,{job.variable}=<{job.about}> " if job.variable else ""
        call.say(f"sbatch {which}{shlex.quote(str(path.absolute()))}")


def read_script(call: Call, folder: Path, maker: str, name: str | None = None) -> WrittenScript:
    """Return the job script of a submission."""
    from scope_dask.cluster.batch import WrittenScript

    return WrittenScript.read((folder / "slurm" / f"{name or call.options.filetype}.sub").absolute(), maker)


def loop_options(call: Call, interval_seconds: float, capped: bool = True) -> LoopOptions:
    """Return how jobs are submitted.

    Raises
    ------
    OptionError
        If a number is below its least.
    """
    from scope_dask.cluster.submission import LoopOptions

    options = call.options
    for name, found, least in (
        ("--max-instances", options.max_instances, 1),
        ("--wait-time-minutes", options.wait_time_minutes, 0),
        ("--submit-interval", interval_seconds, 0),
        ("--retries", options.retries, 0),
    ):
        if not found >= least:
            raise OptionError(f"{name} is {found:g}, expected {least} or more")
    return LoopOptions(
        options.max_instances if capped else None,
        options.wait_time_minutes * SECONDS_PER_MINUTE,
        interval_seconds,
        options.retries + 1,
    )


def submit(
    call: Call, script: WrittenScript, tasks: Sequence[Task], jobs: Jobs, options: LoopOptions, look: bool = False
) -> int:
    """Submit jobs until all tasks are done or have failed, list the latter, and return the exit code.

    With `look`, and for a dry run, tell what is done and what would be submitted.
    """
    from scope_dask.cluster.submission import Submission

    if not tasks:
        call.say("nothing is left to do")
        return 0
    submission = Submission(script, tasks, jobs, options, call.say)
    if look or call.dry_run:
        now = submission.standing()
        call.say(now)
        for task in now.open[: options.room(now)]:
            call.say(f"would submit {task.title}: {script.path}")
        return 0
    end = submission.run(afresh=call.options.reset_running)
    for task in end.failed:
        call.say(submission.failure(task), level=0)
    if end.failed:
        call.say(f"{len(end.failed)} failed; --reset-running tries them again", level=0)
    return 1 if end.failed else 0
