"""How the ``dask scope`` commands end, and what they show on the way."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
from collections.abc import Iterator
from typing import Any

import click

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


@contextlib.contextmanager
def one_sentence() -> Iterator[None]:
    """Turn the errors of the library into one sentence and an exit code: 2 for usage, 1 for a failed run."""
    from scope_dask.errors import DISK_FULL, UNUSABLE, ScopeDaskError, UsageError

    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        click.echo("interrupted: what was finished is kept, the same command goes on from there", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except ScopeDaskError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED)
    except OSError as error:
        if error.errno in DISK_FULL:
            sentence = "the disk is full: what was finished is kept, the same command goes on from there"
        elif error.errno in UNUSABLE and error.filename is not None:
            sentence = f"{error.filename} cannot be used: {error.strerror}; choose another place"
        else:
            raise
        click.echo(f"Error: {sentence}", err=True)
        sys.exit(EXIT_FAILED if error.errno in DISK_FULL else EXIT_USAGE)


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
