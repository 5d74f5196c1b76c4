"""Clusters from the command line: ``dask scope launch`` and its fellows, which are also those of ``scope-cluster``."""

from __future__ import annotations

import dataclasses
import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scope_dask.commands._endings import one_sentence

if TYPE_CHECKING:
    from scope_dask.cluster.folder import ClusterFolder, Wanted
    from scope_dask.cluster.profile import ClusterProfile

LOCAL_PORT = 8787  # of the dashboard at the user's end of a tunnel

_NAME = click.argument("name")
_AS = click.option("--name", help="Name of the cluster; default: the profile's.")
_ACCOUNT = click.option("--account", help="SLURM account, in place of the profile's.")
_PARTITION = click.option("--partition", help="SLURM partition, in place of the profile's.")
_ADAPT = click.option("--adapt", nargs=2, type=int, metavar="MIN MAX", help="As many jobs as the work asks for.")


def _profile(source: str, account: str | None, partition: str | None) -> ClusterProfile:
    from scope_dask.cluster.profile import load_profile

    profile = load_profile(source)
    return dataclasses.replace(profile, account=account or profile.account, partition=partition or profile.partition)


def _wanted(jobs: int | None, adapt: tuple[int, int] | None) -> Wanted | None:
    from scope_dask.cluster.folder import Wanted
    from scope_dask.errors import OptionError

    if jobs is not None and adapt is not None:
        raise OptionError("a number of jobs and --adapt are both given: one of them decides")
    low, high = adapt if adapt is not None else (jobs, jobs)
    if low is None or high is None:
        return None
    if not 0 <= low <= high:
        raise OptionError(f"{low} to {high} jobs are asked for; expected numbers from 0 on, the smaller one first")
    return Wanted(low, high)


@click.command()
@click.argument("profile")
@_AS
@click.option("--jobs", type=int, metavar="N", help="Number of jobs; default: the profile's.")
@_ADAPT
@_ACCOUNT
@_PARTITION
def launch(
    profile: str,
    name: str | None,
    jobs: int | None,
    adapt: tuple[int, int] | None,
    account: str | None,
    partition: str | None,
) -> None:
    """Launch a cluster that outlives the terminal; PROFILE is a file or the name of a packaged profile."""
    with one_sentence():
        from scope_dask.cluster.launch import launch as start

        chosen = _profile(profile, account, partition)
        folder = start(chosen, name or Path(profile).stem, _wanted(jobs, adapt))
        state = folder.state
        click.echo(_line(folder))
        click.echo(f"use it with --cluster {folder.name}, end it with: dask scope stop {folder.name}")
        if state is not None:
            click.echo(f"watch it on {state.host} at {state.page}, from elsewhere: dask scope dashboard {folder.name}")


@click.command()
@click.argument("name", required=False)
def status(name: str | None) -> None:
    """Print the launched clusters, or the jobs and the runs of one; NAME may be the address of any scheduler."""
    with one_sentence():
        from scope_dask.cluster.folder import known_clusters, running_cluster

        if name is None:
            click.echo("\n".join(map(_line, known_clusters())) or "no cluster is launched")
            return
        if "://" in name:
            _echo_runs(name)
            return
        folder = running_cluster(name)
        click.echo(_line(folder))
        state = folder.state
        assert state is not None
        since = datetime.fromtimestamp(state.started, UTC).astimezone()
        click.echo(f"since {since:%Y-%m-%d %H:%M}, jobs lost and replaced: {state.lost}, scheduler {state.address}")
        for job_id, job in state.jobs.items():
            click.echo(f"  job {job_id:<10} {job['state']:<12} {job['workers']} workers  {job['name']}")
        _echo_runs(name)


def _echo_runs(cluster: str) -> None:
    from scope_dask.cluster.connect import client_of
    from scope_dask.watching.terminal import lines, runs_of

    with client_of(cluster) as client:
        for run in runs_of(client):
            click.echo("\n".join(lines(run)))


def _line(folder: ClusterFolder) -> str:
    state, wanted = folder.state, folder.wanted
    if state is None or not folder.alive:
        return f"{folder.name}: its scheduler has ended unexpectedly (clean up with: dask scope stop {folder.name})"
    asked = f"{wanted.minimum} to {wanted.maximum}" if wanted.adaptive else f"{wanted.minimum}"
    running = sum(job["state"] == "RUNNING" for job in state.jobs.values())
    waiting = f"; {state.waiting}" if state.waiting else ""
    return f"{folder.name}: {asked} jobs wanted, {running} running, {state.workers} workers{waiting}"


@click.command()
@_NAME
@click.argument("jobs", type=int, required=False)
@_ADAPT
def scale(name: str, jobs: int | None, adapt: tuple[int, int] | None) -> None:
    """Ask for another number of jobs."""
    with one_sentence():
        from scope_dask.cluster.folder import running_cluster
        from scope_dask.errors import UsageError

        wanted = _wanted(jobs, adapt)
        if wanted is None:
            raise UsageError("how many jobs? give their number, or --adapt MIN MAX")
        running_cluster(name).want(wanted)


@click.command()
@_NAME
def stop(name: str) -> None:
    """Stop a cluster and end its jobs, or clean up after one whose scheduler was killed."""
    with one_sentence():
        from scope_dask.cluster.launch import stop as end

        cancelled = end(name)
        click.echo(f"{name} has stopped" + (f"; cancelled the jobs {' '.join(cancelled)}" if cancelled else ""))


@click.command()
@click.argument("profile")
@_AS
@_ACCOUNT
@_PARTITION
def script(profile: str, name: str | None, account: str | None, partition: str | None) -> None:
    """Print the script of a job, as it would be submitted. No SLURM is needed."""
    with one_sentence():
        from scope_dask.cluster.script import example

        click.echo(example(_profile(profile, account, partition), name or Path(profile).stem), nl=False)


@click.command()
@_NAME
def dashboard(name: str) -> None:
    """Print the addresses of the page of runs and of Dask's dashboard, and how to reach them from elsewhere."""
    with one_sentence():
        from scope_dask.cluster.folder import running_cluster

        state = running_cluster(name).state
        assert state is not None
        port = state.dashboard.rpartition(":")[2].partition("/")[0]
        click.echo(f"on {state.host}: {state.page} (runs), {state.dashboard} (Dask)")
        click.echo(f"tunnel: ssh -N -L {LOCAL_PORT}:127.0.0.1:{port} {getpass.getuser()}@{state.host}")
        click.echo(f"then:   http://127.0.0.1:{LOCAL_PORT}/scope (runs), http://127.0.0.1:{LOCAL_PORT}/status (Dask)")


@click.command()
@_NAME
@click.option("--job", metavar="ID", help="Of this job only.")
@click.option("--lines", default=20, show_default=True, help="Last lines of each file.")
def logs(name: str, job: str | None, lines: int) -> None:
    """Print the last lines of the logs of the scheduler and the jobs, also of a cluster that has stopped."""
    with one_sentence():
        from scope_dask.cluster.folder import ClusterFolder
        from scope_dask.errors import UsageError

        files = ClusterFolder(name).log_files()
        chosen = [f for f in files if job is None or f.stem.endswith(f"-{job}")]
        if not chosen:
            of = f" of job {job}" if job else ""
            raise UsageError(f"there are no logs{of} of a cluster {name!r}")
        for file in chosen:
            last = file.read_text(errors="replace").splitlines()[-lines:] if lines > 0 else []
            if last:
                click.echo("\n".join([f"==> {file} <==", *last]))


COMMANDS = (launch, status, scale, stop, script, dashboard, logs)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Launch Dask clusters, watch and stop them."""


for _command in COMMANDS:
    main.add_command(_command)
