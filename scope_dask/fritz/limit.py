"""No more requests per second than the service takes."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scope_dask.fritz.options import FritzOptions

_limits: dict[FritzOptions, RateLimit] = {}
_lock = threading.Lock()


class RateLimit:
    """A limit on how often something is done: so many times at once, then so often per second on average.

    Parameters
    ----------
    rate : float
        Per second.
    burst : float
        At once.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self._interval = 1.0 / rate
        self._ahead = burst * self._interval
        self._due = 0.0  # when the next one would be, were all of them evenly spaced
        self._lock = threading.Lock()

    def take(self) -> None:
        """Wait until it may be done once more."""
        time.sleep(self.reserve(time.monotonic()))

    def reserve(self, now: float) -> float:
        """Count one more at the time `now`, and return in how many seconds it may be done."""
        with self._lock:
            self._due = max(self._due, now) + self._interval
            return max(0.0, self._due - self._ahead - now)


def limit_of(options: FritzOptions) -> RateLimit:
    """Return the limit that all clients of this process share which have the same options."""
    with _lock:
        return _limits.setdefault(options, RateLimit(options.rate, options.burst))
