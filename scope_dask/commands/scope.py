"""``dask scope``: plan, run and demonstrate pipelines."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click

from scope_dask._version import __version__
from scope_dask.commands._endings import EXIT_FAILED, one_sentence, show_log
from scope_dask.commands.catalog import catalog
from scope_dask.commands.cluster import COMMANDS


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="scope_dask")
def scope() -> None:
    """Classify variable stars: light curves in, features and scores out."""


_CONFIG = click.argument("config", metavar="CONFIG.yaml")
_OUT = click.option("--out", help="Output folder, in place of the configuration's.")


def _pipeline(config: str, out: str | None) -> Any:
    from scope_dask.pipeline import Pipeline

    return Pipeline.from_config(config, **({"out": out} if out else {}))


@scope.command()
@_CONFIG
@_OUT
def plan(config: str, out: str | None) -> None:
    """Print what a run would read, compute and write; nothing is computed."""
    with one_sentence():
        click.echo(str(_pipeline(config, out).plan()))


@scope.command()
@_CONFIG
@_OUT
@click.option("--overwrite", is_flag=True, help="Delete an earlier run in the output folder first.")
@click.option(
    "--cluster",
    "--scheduler",
    metavar="NAME|PROFILE|tcp://…",
    help="A launched cluster, a profile to launch one of for this run, or the address of a Dask scheduler; "
    "default: workers on this machine.",
)
def run(config: str, out: str | None, overwrite: bool, cluster: str | None) -> None:
    """Run a pipeline, or go on with an interrupted run of it."""
    with one_sentence():
        pipeline = _pipeline(config, out)
        show_log()
        click.echo(str(pipeline.plan()))
        with contextlib.ExitStack() as stack:
            client = None
            if cluster:
                from scope_dask.cluster.connect import client_of

                client = stack.enter_context(client_of(cluster))
                click.echo(f"dashboard: {client.dashboard_link}")
            summary = pipeline.run(client, overwrite=overwrite)
        click.echo(str(summary))
        sys.exit(EXIT_FAILED if summary.failed else 0)


@scope.command()
@click.option("--archive", help="Folder of real light curves in IRSA's layout; default: a simulated field.")
@click.option("--out", help="Output folder; default: out/demo, with --archive out/archive.")
@click.option("--overwrite", is_flag=True, help="Delete an earlier demonstration first.")
def demo(archive: str | None, out: str | None, overwrite: bool) -> None:
    """Simulate (or read) a field, train, run the pipeline, and leave one HTML page of plots."""
    with one_sentence():
        from scope_dask.demo import run_demo

        show_log()
        click.echo(run_demo(out or ("out/archive" if archive else "out/demo"), archive=archive, overwrite=overwrite))


@scope.command()
def versions() -> None:
    """Print the versions of everything that results depend on."""
    from scope_dask.diagnostics import show_versions

    show_versions()


for _command in (*COMMANDS, catalog):
    scope.add_command(_command)
