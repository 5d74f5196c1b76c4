"""``get-features``: the features of light curves, from Kowalski into files, with missing ones imputed if wanted."""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scope_dask.commands._layout import field_ids, ids_folder, quadrant_ids
from scope_dask.commands._parser import Call, Command, flag, option, values
from scope_dask.commands._quadrants import CCD_RANGE, CCDS, QUAD_RANGE, QUADS, numbers_between
from scope_dask.errors import OptionError, SourceError

if TYPE_CHECKING:
    from scope_dask.commands._feature_files import Download, Target
    from scope_dask.commands._imputing import Imputing
    from scope_dask.sources.kowalski import Kowalski
    from scope_dask.training.imputation import Imputation

ROOT = Path("features")

ARGUMENTS = (
    option("--field", "ZTF field", int, 291),
    CCD_RANGE,
    QUAD_RANGE,
    option("--limit-per-query", "ids of a query", int, 1000),
    option("--max-sources", "rows of a file", int, 100_000),
    option(
        "--features-catalog",
        "catalogue of features",
        default="ZTF_source_features_DR16",
        config=("kowalski", "collections", "features"),
    ),
    flag("--whole-field", "the ids of the whole field, in files of the field"),
    option("--start", "number of the first id of a file of ids, from 0", int),
    option("--end", "number of the id after the last", int),
    flag("--restart", "download again what is there"),
    flag("--no-write-results", "download, but write no files"),
    flag("--write-csv", "write every file as CSV too"),
    values("--column-list", "columns to download; all if not given"),
    option("--suffix", "text that is added to the names of the files"),
    flag("--impute-missing-features", "impute missing features by the strategies of the configuration"),
    flag("--no-self-impute", "fit the imputation on training: dataset of the configuration, not on these rows"),
    flag("--tm", "print how long each step takes"),
)


@dataclass(frozen=True)
class Plan:
    """What a command line asks for.

    Attributes
    ----------
    targets : list of Target
        A file of ids each.
    download : Download
    imputing : Imputing or None
    rows : int
        Of a file.
    suffixes : tuple of str
        Formats.
    kinds : mapping
        Types of features, by the configuration.
    """

    targets: list[Target]
    download: Download
    imputing: Imputing | None
    rows: int
    suffixes: tuple[str, ...]
    kinds: Mapping[str, str]

    def requests(self) -> list[str]:
        """Return the name of what is asked for, for each target.

        Where the imputation is fitted on the rows of the call, it belongs to all of them.
        """
        what: dict[str, Any] = {"catalog": self.download.catalog, "columns": self.download.columns, "rows": self.rows}
        what |= {"formats": self.suffixes, "imputing": self.imputing and self.imputing.describe()}
        what |= {"kinds": dict(self.kinds)}
        if self.imputing and self.imputing.dataset is None:
            what["with"] = [target.request({}) for target in self.targets]
        return [target.request(what) for target in self.targets]


def plan_of(call: Call, root: Path) -> Plan:
    """Return what a command line asks for, with the files below `root`.

    Raises
    ------
    OptionError
        If a number is outside its range.
    SourceError
        If a file of ids, or the training set, is not there.
    """
    from scope_dask.commands._feature_files import Download
    from scope_dask.commands._imputing import imputing_of, kinds_of, warn
    from scope_dask.user_config.features import period_suffix

    options = call.options
    for name, least in (("field", 0), ("limit_per_query", 1), ("max_sources", 1), ("start", 0), ("end", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise OptionError(f"--{name.replace('_', '-')} is {value}, expected {least} or more")
    columns = None if options.column_list is None else tuple(dict.fromkeys(options.column_list))
    kinds = kinds_of(call.config, period_suffix(call.config))
    download = Download(options.features_catalog, columns, options.limit_per_query)
    suffixes = (".parquet", ".csv") if options.write_csv else (".parquet",)
    if options.no_self_impute and not options.impute_missing_features:
        warn("--no-self-impute is not used without --impute-missing-features")
    imputing = imputing_of(call.config, options.no_self_impute) if options.impute_missing_features else None
    return Plan(list(_targets(call, root)), download, imputing, options.max_sources, suffixes, kinds)


def _targets(call: Call, root: Path) -> Iterator[Target]:
    """Yield a target for each file of ids; without ranges, for those that there are."""
    options = call.options
    folder, out = ids_folder(options.field), root / f"field_{options.field}"
    end = f"_{options.suffix}" if options.suffix else ""
    ranged = {"ccd_range", "quad_range"} & call.given
    if options.whole_field:
        if ranged:
            raise OptionError("--whole-field takes all quadrants: leave out --ccd-range and --quad-range")
        file = field_ids(folder, options.field)
        yield _target(call, f"field {options.field}", file, out / f"field_{options.field}{end}")
        return
    ccds = numbers_between(options.ccd_range, CCDS, "--ccd-range")
    quads = numbers_between(options.quad_range, QUADS, "--quad-range")
    files = {(ccd, quad): quadrant_ids(folder, ccd, quad) for ccd, quad in itertools.product(ccds, quads)}
    there = files if ranged else {place: file for place, file in files.items() if file.is_file()}
    if not there:
        raise SourceError(f"there are no files of ids in {folder}: download them first (get-quad-ids --multi-quads)")
    for (ccd, quad), file in there.items():
        name = f"field {options.field}, CCD {ccd}, quadrant {quad}"
        yield _target(call, name, file, out / f"ccd_{ccd:02d}_quad_{quad}{end}")


def _target(call: Call, name: str, file: Path, stem: Path) -> Target:
    import numpy as np

    from scope_dask.commands._feature_files import Target
    from scope_dask.formats import read_ids

    with _timed(call, f"read ids of {name}"):
        ids = read_ids(file)
    chosen = ids[call.options.start : call.options.end]
    if len(ids) and not len(chosen):
        raise OptionError(f"{file} has {len(ids)} ids: --start and --end leave none of them")
    return Target(name, stem, np.unique(chosen))


@contextmanager
def _timed(call: Call, what: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    if call.options.tm:
        call.say(f"{what:<50} --> {time.perf_counter() - start:.4f} s")


def get_features(call: Call, plan: Plan, kowalski: Kowalski) -> int:
    """Download the features, impute, write; return the number of rows written.

    Nothing is written before all pages are there: the imputation is fitted on them. Pages that are there from an
    earlier, interrupted call are not asked for again.

    Raises
    ------
    KowalskiError
        If the service does not answer as it should; the pages that are there are kept.
    """
    from scope_dask.commands._feature_files import never_there
    from scope_dask.commands._imputing import warn

    requests = dict(zip((target.stem for target in plan.targets), plan.requests(), strict=True))
    todo = [t for t in plan.targets if call.options.restart or not t.has(requests[t.stem])]
    for target in plan.targets:
        if target not in todo:
            call.say(f"{target.name}: the features are there already")
    if plan.imputing and plan.imputing.dataset is None and todo:
        todo = plan.targets  # fitted on all, applied to all
    started = datetime.now(UTC)
    parts = {target: _download(call, plan, kowalski, target) for target in todo}
    if not todo:
        return 0
    fitted = None
    if plan.imputing:
        with _timed(call, "fit the imputation"):
            fitted = plan.imputing.fit([part for own in parts.values() for part in own])
    for name in never_there(list(itertools.chain(*parts.values())), plan.download.columns or ()):
        warn(f"no light curve has {name} in {plan.download.catalog}: is it the name of a column?")
    written = _write(call, plan, parts, fitted, _metadata(plan, started))
    for target, (files, rows) in zip(todo, written, strict=True):
        target.finish(requests[target.stem], files)
        shown = f"{files[0]}{' …' if len(files) > 1 else ''}"
        call.say(f"{target.name}: {len(target.ids)} ids, {rows} rows in {shown}")
    return sum(rows for _, rows in written)


def _write(
    call: Call, plan: Plan, parts: dict[Target, list[Path]], fitted: Imputation | None, metadata: dict[str, Any]
) -> list[tuple[list[Path], int]]:
    """Write the files of each target; return (files, rows) of each."""
    from scope_dask.commands._feature_files import types_of, write_files
    from scope_dask.commands._imputing import changed

    written = []
    for target, own in parts.items():
        with _timed(call, f"write {target.name}"):
            change = partial(changed, types_of(own, plan.kinds), fitted)
            written.append(write_files(target, own, metadata, plan.rows, plan.suffixes, change))
    return written


def _download(call: Call, plan: Plan, kowalski: Kowalski, target: Target) -> list[Path]:
    if call.options.restart:
        target.forget_pages()
    files = []
    done = 0
    with _timed(call, f"download {target.name}"):
        for file, ids in plan.download.fetch(kowalski, target):
            files.append(file)
            done += ids
            call.say(f"{target.name}: {done} of {len(target.ids)} ids done", level=2)
    return files


def _metadata(plan: Plan, started: datetime) -> dict[str, Any]:
    from scope_dask._version import __version__

    return {
        "scope_code_version": __version__,
        "features_download_dateTime_utc": f"{started:%Y-%m-%d %H:%M:%S}",
        "features_ztf_dataRelease": plan.download.catalog.split("_")[-1],
        "features_imputed": plan.imputing is not None,
    }


def run(call: Call) -> None:
    """Download features, or tell what would be downloaded."""
    from scope_dask.sources.kowalski import Kowalski

    with ExitStack() as stack:
        nowhere = call.options.no_write_results and not call.dry_run
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))) if nowhere else ROOT
        plan = plan_of(call, root)
        kowalski = Kowalski.from_config(call.config)
        if call.dry_run:
            _show(call, plan, kowalski)
            return
        total = get_features(call, plan, kowalski)
    if nowhere:
        call.say(f"{total} rows; nothing is written")


def _show(call: Call, plan: Plan, kowalski: Kowalski) -> None:
    """Print what would be read, sent and written."""
    columns = "all columns" if plan.download.columns is None else ", ".join(plan.download.columns)
    for target in plan.targets:
        pages = len(plan.download.pages(target)) if len(target.ids) else 0
        call.say(
            f"would ask {kowalski} for {columns} of {len(target.ids)} ids of {target.name} in {plan.download.catalog}, "
            f"{pages} queries"
        )
        if not call.options.no_write_results:
            most = max(1, -(-len(target.ids) // plan.rows))
            names = " and ".join(str(target.file(0, suffix)) for suffix in plan.suffixes)
            call.say(f"would write {names}, {most} of each at most")
    if plan.imputing:
        of = plan.imputing.dataset or "all these rows"
        call.say(f"would impute {len(plan.imputing.strategies)} features by strategies fitted on {of}")


COMMAND = Command(
    "get-features",
    "Download the features of a ZTF field, or of its quadrants, from Kowalski.",
    ARGUMENTS,
    run,
    on_worker=True,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
