"""The log of one training: lines that go to its own file, live, whatever else trains in the same process."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

LOGGER = logging.getLogger("scope_dask.training.log")
LOGGER.setLevel(logging.INFO)
LOGGER.propagate = False  # only to files of `logged_to`


@contextlib.contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Write what this thread logs to a file, with the time (UTC); an error with its traceback, and pass it on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    formatter = logging.Formatter("%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    thread = threading.get_ident()
    handler.addFilter(lambda record: record.thread == thread)
    LOGGER.addHandler(handler)
    try:
        yield
    except Exception:
        LOGGER.exception("failed")
        raise
    finally:
        LOGGER.removeHandler(handler)
        handler.close()
