"""Telling the scheduler of a run while it goes on."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Iterator

from distributed import Client

from scope_dask.watching.scheduler import Runs
from scope_dask.watching.state import RunState

logger = logging.getLogger(__name__)

TELL_SECONDS = 1.0
PATIENCE_SECONDS = 10.0  # with a scheduler that does not answer


@contextlib.contextmanager
def announced(state: RunState, client: Client) -> Iterator[None]:
    """Tell the scheduler of a run for the time of the block, and how it ended."""
    if client.status == "running":  # else the run itself finds out that the scheduler is gone
        with contextlib.suppress(OSError, TimeoutError):
            client.register_plugin(Runs())
            logger.info("progress: %s", page_address(client))
    state.begin()
    _tell(state, client)
    ended = threading.Event()
    teller = threading.Thread(target=_keep_telling, args=(state, client, ended), daemon=True)
    teller.start()
    try:
        yield
    except KeyboardInterrupt:
        state.end("interrupted")
        raise
    except Exception as error:
        state.end(f"{error}".partition("\n")[0] or type(error).__name__)
        raise
    else:
        state.end()
    finally:
        ended.set()
        teller.join()
        _tell(state, client)


def page_address(client: Client) -> str:
    """Return the address of the page beside Dask's dashboard."""
    address = client.dashboard_link.removesuffix("/status") + "/scope"
    if client.scheduler.address.startswith("inproc:"):  # Dask names the machine, whatever the server listens to
        return re.sub("//[^/]*:", "//127.0.0.1:", address)
    return address


def _keep_telling(state: RunState, client: Client, ended: threading.Event) -> None:
    told = state.changes
    while not ended.wait(TELL_SECONDS):
        if state.changes != told:
            told = state.changes
            _tell(state, client)


def _tell(state: RunState, client: Client) -> None:
    if client.status != "running":
        return
    with contextlib.suppress(OSError, TimeoutError):
        report = {**state.report(), "client": client.id}
        client.sync(client.scheduler.scope_report, report=report, callback_timeout=PATIENCE_SECONDS)
