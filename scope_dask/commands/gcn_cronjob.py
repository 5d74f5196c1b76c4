"""``gcn-cronjob``: new sources of GCN events, classified and posted to Fritz; made to be run by cron."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scope_dask.commands._endings import EXIT_FAILED, EXIT_INTERRUPTED
from scope_dask.commands._parser import Call, Command, cluster, flag, option, values
from scope_dask.commands.generate_features import CATALOGS, COMPUTATION
from scope_dask.errors import OptionError, RunError

if TYPE_CHECKING:
    from distributed import Client

    from scope_dask.commands._gcn import Loop
    from scope_dask.fritz import Fritz

GRACE_SECONDS = 6.0
AGAIN_SECONDS = 0.05
LOCK = Path(".gcn_cronjob.lock")
WORKING_FOLDER = "config.yaml"  # the file that makes a folder one

UNUSED = {
    "--username": "--cluster names where to compute",
    "--partition": "the profile of --cluster names it",
    "--path-to-python": "everything runs with this interpreter",
}

OWN = (
    option("--daysAgo", "events of the last so many days", float, 7.0),
    option("--dateobs", "only this event, such as 2023-05-21T05:30:43"),
    values("--query-group-ids", "groups whose sources are looked at; all if not given", int),
    values("--post-group-ids", "groups to which sources of gravitational-wave events are posted", int, [1544]),
    values("--grb-group-ids", "groups to which sources of GRB and Fermi events are posted", int, [48]),
    option("--days-range", "how many days after the event the sources are detected", float, 7.0),
    option("--radius-arcsec", "light curves within this radius of a source are its own", float, 0.5),
    option(
        "--save-filename",
        "what the names of the lists of sources begin with",
        default="fritzDownload/specific_ids_GCN_sources",
    ),
    option(
        "--generated-features-dirname",
        "folder of the features, below path_to_features of config.yaml",
        default="generated_features_GCN_sources",
    ),
    option("--filename", "what the names of its files begin with", default="gen_features"),
    values("--paths-models", "folders of models; the only groups in models_dnn and models_xgb if not given"),
    option("--combined-preds-dirname", "folder of the scores of sources", default="preds_dnn_xgb"),
    option("--dnn-preds-directory", "folder of the scores by neural networks", default="preds_dnn"),
    option("--xgb-preds-directory", "folder of the scores by XGBoost", default="preds_xgb"),
    option("--agg-method", "how the scores of a source become one", default="mean", choices=("mean", "max")),
    option("--taxonomy-map", "taxonomy mapper", default="fritz_mapper.json"),
    option("--p-threshold", "least probability that is posted", float, 0.7),
    flag("--doNotPost", "compute, and send nothing"),
    option("--checkpoint-filename", "file with the sources that are done", default="gcn_sources_checkpoint.json"),
    option("--checkpoint-refresh-days", "after so many days all sources are looked at anew", float, 30.0),
    flag("--ignore-checkpoint", "look at all sources anew"),
    option("--time-limit-minutes", "end after this time, and go on with the next call; 0: no limit", float, 115.0),
    cluster(),
    option("--n-workers", "threads of this process that compute; one per core if not given", int),
    *(option(name, f"taken and not used: {why}") for name, why in UNUSED.items()),
)
ARGUMENTS = (*CATALOGS, *COMPUTATION, flag("--doCPU", "search periods on the CPU", default=True), *OWN)


class TimeLimitError(RunError):
    """The time limit is reached; the next call goes on."""


class Logged(Call):
    """A call that begins every line with the time (UTC)."""

    def say(self, text: object, level: int = 1) -> None:
        """Print a line with the time."""
        from scope_dask.commands._gcn import stamp

        super().say(f"{stamp()} {text}", level)


def run(call: Call) -> int:
    """Look for events, and classify and post their new sources; 1 where an event failed."""
    from scope_dask.commands._gcn import Checkpoint, Loop, default_models
    from scope_dask.fritz import Fritz
    from scope_dask.fritz.mappers import read_mapper
    from scope_dask.sources.kowalski import Kowalski

    call = _prepared(call)
    options = call.options
    read_mapper(options.taxonomy_map)
    models = default_models(options.paths_models)
    kowalski = Kowalski.from_config(call.config)
    with Fritz.from_config(call.config) as fritz:
        if call.dry_run:
            _show(call, fritz, models)
            return 0
        with locked() as mine:
            if not mine:
                call.say("another gcn_cronjob is running in this folder: nothing is done")
                return 0
            path = Path(options.checkpoint_filename)
            checkpoint = Checkpoint.read(path, options.checkpoint_refresh_days, options.ignore_checkpoint)
            with ending(options.time_limit_minutes), client_of(call) as client:
                return process_all(Loop(call, fritz, kowalski, client, checkpoint, models))


def _prepared(call: Call) -> Call:
    """Return the call with what the functions of the feature generation look for.

    Raises
    ------
    OptionError
        If a number is outside its range.
    """
    from scope_dask.commands._generation import check_device

    options = call.options
    for name in ("daysAgo", "days_range", "radius_arcsec"):
        if not getattr(options, name) > 0:
            raise OptionError(f"--{name.replace('_', '-')} is {getattr(options, name)}, expected more than 0")
    if not 0 <= options.p_threshold <= 1:
        raise OptionError(f"--p-threshold is {options.p_threshold}, expected 0 to 1")
    if options.time_limit_minutes < 0:
        raise OptionError(f"--time-limit-minutes is {options.time_limit_minutes}, expected 0 or more")
    for name, why in UNUSED.items():
        if name.lstrip("-").replace("-", "_") in call.given:
            warnings.warn(f"{name} is not used: {why}", UserWarning, stacklevel=2)
    options.doCPU = options.doCPU and not (options.doGPU and "doCPU" not in call.given)
    options.dirname, options.stop_early = options.generated_features_dirname, False
    check_device(call)
    return Logged(options, call.config, call.given)


def process_all(loop: Loop) -> int:
    """Process the events, the newest first; an event that fails does not keep the others from being processed.

    Raises
    ------
    FritzError
        If the list of events does not come.
    """
    from scope_dask.errors import ScopeDaskError
    from scope_dask.fritz import FritzUnavailableError
    from scope_dask.sources.kowalski import KowalskiUnavailableError

    failed, new = 0, 0
    events = found_events(loop)
    loop.call.say(f"{len(events)} events")
    for dateobs, kind in events:
        try:
            new += loop.process(dateobs, kind)
        except (TimeLimitError, FritzUnavailableError, KowalskiUnavailableError):
            raise
        except ScopeDaskError as error:
            failed += 1
            loop.call.say(f"{dateobs} failed: {error}", level=0)
    loop.call.say(f"done: {new} new sources in {len(events)} events, {failed} events failed")
    return 1 if failed else 0


def found_events(loop: Loop) -> list[tuple[str, str]]:
    """Return the events (time, kind) that are processed, the newest first.

    Raises
    ------
    OptionError
        If the event that was named does not exist.
    FritzError
    """
    from scope_dask.commands._gcn import kind_of
    from scope_dask.fritz.gcn import gcn_event, gcn_events

    options = loop.call.options
    if options.dateobs:
        event = gcn_event(loop.fritz, options.dateobs)
        if event is None:
            raise OptionError(f"--dateobs is {options.dateobs}, and Fritz has no such event")
        return [(options.dateobs, kind_of(event) or "gw")]
    start = datetime.now(UTC) - timedelta(days=options.daysAgo)
    found = [(str(event["dateobs"]), kind_of(event)) for event in gcn_events(loop.fritz, start)]
    return [(dateobs, kind) for dateobs, kind in reversed(found) if kind is not None]


@contextlib.contextmanager
def locked() -> Iterator[bool]:
    """Yield whether no other copy runs in the working folder; the end of the process gives the lock back."""
    with LOCK.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


@contextlib.contextmanager
def ending(minutes: float) -> Iterator[None]:
    """End the block with `TimeLimitError` after some minutes (0: never), and with KeyboardInterrupt on SIGTERM.

    The process is gone a few seconds later at the latest, whatever its threads are computing: cron, or ``timeout``, may
    wait no longer. What was finished is kept.
    """
    timers: list[threading.Timer] = []
    main = threading.main_thread().ident or 0

    def later(seconds: float, function: Callable[..., None], *arguments: int) -> None:
        timers.append(threading.Timer(seconds, function, arguments))
        timers[-1].daemon = True
        timers[-1].start()

    def end(number: int, _: Any) -> None:
        if not timers:
            later(GRACE_SECONDS, _exit, EXIT_FAILED if number == signal.SIGALRM else EXIT_INTERRUPTED)
        if number == signal.SIGTERM:
            raise KeyboardInterrupt
        raise TimeLimitError(f"the time limit of {minutes:g} minutes is reached: the next call goes on from there")

    def swallowed(what: Any) -> None:
        """Send the signal again where a destructor or the garbage collection was interrupted, which ignore it."""
        if isinstance(what.exc_value, KeyboardInterrupt | TimeLimitError):
            alarm = isinstance(what.exc_value, TimeLimitError)
            later(AGAIN_SECONDS, signal.pthread_kill, main, signal.SIGALRM if alarm else signal.SIGTERM)
        else:
            hook(what)

    if threading.get_ident() != main:
        yield
        return
    before = {number: signal.signal(number, end) for number in (signal.SIGALRM, signal.SIGTERM)}
    hook, sys.unraisablehook = sys.unraisablehook, swallowed
    signal.setitimer(signal.ITIMER_REAL, 60.0 * minutes)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for timer in timers[1:]:  # the first one watches the end of the process
            timer.cancel()
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(code: int) -> None:
    sys.stderr.write("ended while something was being computed: what was finished is kept, the next call goes on\n")
    sys.stderr.flush()
    os._exit(code)


@contextlib.contextmanager
def client_of(call: Call) -> Iterator[Client]:
    """Yield a client of the cluster that is named, or of threads in this process."""
    from scope_dask.commands import run_inference

    with run_inference.client_of(call) as client:
        yield client


def _show(call: Call, fritz: Fritz, models: list[str]) -> None:
    """Print what would be asked, computed and sent."""
    options = call.options
    which = options.dateobs or f"the last {options.daysAgo:g} days"
    call.say(f"would ask {fritz} for events of {which} and their sources that are not in {options.checkpoint_filename}")
    call.say(f"would compute features of their light curves, and scores by {', '.join(models)}")
    groups = f"{options.post_group_ids} (gravitational waves), {options.grb_group_ids} (GRB)"
    call.say("would send nothing" if options.doNotPost else f"would post scores of {options.p_threshold:g} to {groups}")


COMMAND = Command(
    "gcn-cronjob", "Classify the new sources of GCN events and post them to Fritz; for cron.", ARGUMENTS, run
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run in the working folder: here if there is a config.yaml, else where the script lies that was called."""
    beside = Path(sys.argv[0]).resolve().parent
    if not Path(WORKING_FOLDER).exists() and (beside / WORKING_FOLDER).exists():
        os.chdir(beside)
    return COMMAND.main(argv)


if __name__ == "__main__":
    sys.exit(main())
