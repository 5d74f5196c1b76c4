"""Results that are saved while they come."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator

SAVE_SECONDS = 10.0


@contextlib.contextmanager
def saving(save: Callable[[], object], seconds: float = SAVE_SECONDS) -> Iterator[Callable[[], None]]:
    """Yield what is to be called after each step: it saves the first time, then every `seconds`.

    What there is at the end is saved, too, even after an error or an interruption.
    """
    last = -math.inf

    def step() -> None:
        nonlocal last
        if time.monotonic() - last > seconds:
            save()
            last = time.monotonic()

    try:
        yield step
    finally:
        save()
