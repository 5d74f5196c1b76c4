"""Processes that a test starts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Yield a process that is killed when the block is left: one that hangs fails its test and holds up no other."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()
