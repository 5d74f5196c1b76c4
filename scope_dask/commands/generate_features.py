"""``generate-features``: the features of a quadrant, or of specific ids, as one file."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from scope_dask.commands._parser import Call, Command, cluster, flag, option, values

if TYPE_CHECKING:
    from scope_dask.generation import Generated, Job

_COLLECTIONS = ("kowalski", "collections")

CATALOGS = (
    option("--source-catalog", "ZTF sources", default="ZTF_sources_20240117", config=(*_COLLECTIONS, "sources")),
    option("--alerts-catalog", "ZTF alerts", default="ZTF_alerts", config=(*_COLLECTIONS, "alerts")),
    option("--gaia-catalog", "Gaia, for bright stars", default="Gaia_EDR3", config=(*_COLLECTIONS, "gaia")),
    option("--bright-star-query-radius-arcsec", "bright stars farther from a source are not looked at", float, 300.0),
    option("--xmatch-radius-arcsec", "largest separation of alerts and of matches in catalogues", float, 2.0),
    option(
        "--query-size-limit",
        "light curves of a query at most; with --stop-early, sources in all",
        int,
        10_000,
        aliases=("--limit",),
    ),
    option("--Ncore", "queries under way at a time", int, 8),
    option(
        "--max-timestamp-hjd",
        "points after this heliocentric Julian date are left out",
        float,
        2459951.5,
        config=("kowalski", "max_timestamp_hjd"),
    ),
    option("--source-archive", "read light curves from this folder, file or HATS catalogue instead of Kowalski"),
    values(
        "--catalog-path",
        "local copies of catalogues, NAME=PATH …: Parquet or HATS; beside --source-archive there are no others",
    ),
)
COMPUTATION = (
    values("--period-algorithms", "period algorithms; if not given, those of config.yaml for the device"),
    option("--period-batch-size", "light curves at a time in the period search", int, 1000),
    flag("--doCPU", "search periods on the CPU; with neither this nor --doGPU every period is 1 d"),
    flag("--doGPU", "search periods on a GPU"),
    option("--samples-per-peak", "frequencies per periodogram peak", int, 10),
    flag("--doScaleMinPeriod", "highest frequency 1/(2 --min-cadence-minutes), in place of --max-freq"),
    flag("--doRemoveTerrestrial", "leave out the frequencies of day, month, year and their aliases"),
    option("--top-n-periods", "peaks of (E)LS and (E)CE that the nested search hands on to (E)AOV", int, 50),
    flag("--nested-full-aov", "nested search: evaluate EAOV at all frequencies, and write its own columns"),
    option("--max-freq", "highest frequency, 1/d", float, 48.0),
    option("--min-n-lc-points", "least number of points of a light curve", int, 50),
    option("--min-cadence-minutes", "of points closer in time only the first is kept", float, 30.0),
    flag("--doCesium", "add the cesium features of config.yaml"),
    option(
        "--fourier",
        "contents of the Fourier columns: coefficients, or amplitudes and phases as documented",
        default="raw",
        choices=("raw", "documented"),
    ),
    flag("--skipCloseSources", "keep sources close to bright stars"),
)
RUNNING = (
    cluster(),
    option("--n-workers", "worker processes of the local cluster; if not given one per core, with --doGPU one", int),
)
FILES = (
    option("--dirname", "folder of the features, below path_to_features of config.yaml", default="generated_features"),
    option("--filename", "what the names of the files begin with", default="gen_features"),
    flag("--doNotSave", "compute, and write no file"),
    flag("--stop-early", "only the first --limit sources by id"),
    flag("--overwrite", "compute again what is there, and delete an unfinished run of other options"),
)
WHERE = (
    option("--field", "ZTF field", int, 296),
    option("--ccd", "CCD, 1 to 16", int, 1),
    option("--quad", "quadrant, 1 to 4", int, 1),
    flag("--doQuadrantFile", "take field, CCD and quadrant from a line of --quadrant-file"),
    option("--quadrant-file", "file with lines 'job field ccd quad' in <dirname>/slurm", default="slurm.dat"),
    option("--quadrant-index", "number of the job in --quadrant-file", int, 0),
    flag("--doSpecificIDs", "take the ids of --fg-dataset instead of a quadrant"),
    option(
        "--fg-dataset",
        "file with ztf_id: parquet, h5, csv, or the json of scope-download-gcn-sources",
        config=("feature_generation", "dataset"),
    ),
)
ARGUMENTS = (*WHERE, *CATALOGS, *COMPUTATION, *FILES, *RUNNING)


def run(call: Call) -> None:
    """Generate features, or tell what would be done."""
    from scope_dask.commands._generation import check_device, job_of

    check_device(call)
    job = job_of(call)
    if call.dry_run:
        show(call, job)
    else:
        tell(call, generated(call, job))


def generated(call: Call, job: Job) -> Generated:
    """Run a job as the command line asks for it."""
    from scope_dask.cluster.connect import client_of
    from scope_dask.config import RunOptions
    from scope_dask.generation import generate

    options = call.options
    workers = options.n_workers or (1 if options.doGPU else None)
    with ExitStack() as stack:
        client = stack.enter_context(client_of(options.cluster)) if options.cluster else None
        return generate(
            job, client, RunOptions(n_workers=workers), save=not options.doNotSave, overwrite=options.overwrite
        )


def tell(call: Call, made: Generated) -> None:
    """Print what a run made."""
    if made.summary is None:
        call.say(f"{made.path} is there already, of the same sources and options: --overwrite computes it again")
        return
    call.say(made.summary)
    call.say(f"{made.rows} light curves in {made.path}" if made.path else f"{made.rows} light curves; nothing is saved")


def show(call: Call, job: Job) -> None:
    """Print what would be read, sent and written."""
    from scope_dask.generation import ArchiveOrigin, KowalskiOrigin

    if isinstance(job.origin, ArchiveOrigin):
        table = job.table()
        call.say(f"would read {job.what} of {job.origin.name}: {table.npartitions} partitions")
        call.say(f"would write {len(table.columns)} columns: {' '.join(map(str, table.columns))}")
    elif isinstance(job.origin, KowalskiOrigin):
        call.say(f"would ask {job.origin.kowalski} for {job.what} of {job.origin.name}")
    periods = " ".join(job.options.written)
    catalogs = [*(n for n, c in (("Gaia", job.catalogs.gaia), ("alerts", job.catalogs.alerts)) if c is not None)]
    call.say(f"periods: {periods}; catalogues: {' '.join([*catalogs, *job.catalogs.external]) or 'none'}")
    call.say("would write no file" if call.options.doNotSave else f"would write {job.path}")


COMMAND = Command("generate-features", "Generate the features of a ZTF quadrant, or of specific ids.", ARGUMENTS, run)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
