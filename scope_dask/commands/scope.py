"""``dask scope``: plan, run and demonstrate pipelines."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
from collections.abc import Iterator
from typing import Any

import click

from scope_dask._version import __version__

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


@contextlib.contextmanager
def one_sentence() -> Iterator[None]:
    """Turn the errors of the library into one sentence and an exit code: 2 for usage, 1 for a failed run."""
    from scope_dask.errors import ScopeDaskError, UsageError

    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        click.echo("interrupted: what was finished is kept, the same command goes on from there", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except ScopeDaskError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED)


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


def show_log() -> None:
    """Show what the library reports, as plain lines on standard error."""
    logger = logging.getLogger("scope_dask")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)


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
@click.option("--scheduler", metavar="tcp://…", help="Address of a running Dask scheduler; default: a local cluster.")
def run(config: str, out: str | None, overwrite: bool, scheduler: str | None) -> None:
    """Run a pipeline, or go on with an interrupted run of it."""
    with one_sentence():
        pipeline = _pipeline(config, out)
        show_log()
        click.echo(str(pipeline.plan()))
        with contextlib.ExitStack() as stack:
            client = None
            if scheduler:
                from distributed import Client

                client = stack.enter_context(Client(scheduler))
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
