"""``run-scope-local``: features of the sources in a list, in folders that are named after the time."""

from __future__ import annotations

import shlex
import sys
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from scope_dask.commands._layout import find_file
from scope_dask.commands._parser import Call, Command, flag, option, values
from scope_dask.commands.generate_features import CATALOGS, COMPUTATION, FILES, RUNNING, generated, show, tell
from scope_dask.errors import OptionError

if TYPE_CHECKING:
    import pandas as pd

    from scope_dask.generation import Origin, SpecificIds
    from scope_dask.sources.lists import SourceList

SPELLINGS = {"xgb": "xgb", "xgboost": "xgb", "dnn": "dnn", "nn": "dnn"}

INFERENCE = (
    values("--paths-models", "models to score with; if not given, those of --group-names"),
    values("--model-class-names", "classes of --paths-models"),
    flag("--whole-field", "taken and not used: there is one file"),
    flag("--flag-ids", "write which features were missing of which light curve"),
    flag("--xgb-model", "taken and not used: --algorithms decides"),
    flag("--time-run", "print how long the scores took"),
    flag("--write-csv", "write the scores as CSV as well"),
    values("--float-convert-types", "bits of the numbers before and after the conversion", int, [64, 32], most=2),
    option("--feature-stats", "file with the statistics for the scaling"),
    option("--scale-features", "how features are scaled", default="min_max"),
    option("--trainingSet", "training set for imputation and scaling", default="use_config"),
    option("--feature-directory", "taken and not used: the features are those of this run"),
    option("--feature-file-prefix", "taken and not used, as --feature-directory"),
    option(
        "--period-suffix", "period algorithm whose columns the models use", config=("features", "info", "period_suffix")
    ),
    flag("--no-write-metadata", "write the scores without metadata"),
    option("--batch-size", "rows that are scored at a time", int, 100_000),
)
OWN = (
    option("--path-dataset", "file with ids (ztf_id) or positions (ra, dec): parquet, h5 or csv", required=True),
    option("--cone-radius-arcsec", "light curves within this radius of a position are its own", float, 2.0),
    option("--save-sources-filepath", "file for the sources that were found", default="sources.parquet"),
    values("--algorithms", "algorithms of the models: xgb, dnn"),
    values("--group-names", "groups of the models, in the order of --algorithms"),
)
ARGUMENTS = (*OWN, *CATALOGS, *COMPUTATION, *FILES, *RUNNING, *INFERENCE)


@dataclass(frozen=True)
class Models:
    """The models of one algorithm: ``models_<algorithm>/<group>``."""

    algorithm: str
    group: str


def run(call: Call) -> None:
    """Find the sources, generate their features, and print the time that the folders are named after."""
    if current_dt := run_scope_local(call):
        call.say(current_dt, level=0)


def run_scope_local(call: Call) -> str:
    """Generate the features of the sources in a list.

    Returns
    -------
    str
        The time (UTC) after which the folders are named, ``%Y-%m-%dT%H-%M-%S``; empty after ``--dry-run``.

    Raises
    ------
    OptionError, SourceError, RunError
    """
    from scope_dask.commands._generation import check_device, folder_of, job_of, origin_of
    from scope_dask.formats import suffix_of, write_table
    from scope_dask.sources.lists import read_list

    models = models_of(call)
    check_device(call)
    suffix_of(call.options.save_sources_filepath)
    wanted = read_list(find_file(call.options.path_dataset))
    current_dt = f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}"
    folder = folder_of(call, f"_{current_dt}")
    if call.dry_run:
        job = job_of(call, as_ids(wanted), folder)
        call.say(f"would look up {len(wanted)} sources in {job.origin.name}")
        show(call, job)
        call.say(f"would write {call.options.save_sources_filepath}")
        return ""
    sources = found_sources(origin_of(call), wanted, call.options.cone_radius_arcsec)
    if sources.empty:
        warnings.warn(f"none of {call.options.path_dataset} has light curves", UserWarning, stacklevel=2)
    write_table(sources, call.options.save_sources_filepath)
    call.say(f"{len(sources)} light curves of {len(wanted)} sources in {call.options.save_sources_filepath}")
    job = job_of(call, specific(sources, wanted), folder)
    tell(call, generated(call, job))
    for own in models:
        call.say(f"score them with: {_scoring(own, folder.root.name, current_dt)}")
    return current_dt


def models_of(call: Call) -> list[Models]:
    """Return the models that are asked for.

    Raises
    ------
    OptionError
        If an algorithm is unknown, or has no group.
    """
    algorithms, groups = call.options.algorithms or [], call.options.group_names or []
    names = []
    for algorithm in algorithms:
        if algorithm.lower() not in SPELLINGS:
            raise OptionError(f"--algorithms has {algorithm!r}, expected xgb or dnn")
        names.append(SPELLINGS[algorithm.lower()])
    if len(groups) < len(names):
        raise OptionError(f"--algorithms has {len(names)} names and --group-names {len(groups)}: each needs its group")
    if len(groups) > len(names):
        warnings.warn(f"--group-names {' '.join(groups[len(names) :])} have no algorithm: not used", stacklevel=2)
    return [Models(name, group) for name, group in zip(names, groups, strict=False)]


def found_sources(origin: Origin, wanted: SourceList, radius_arcsec: float) -> pd.DataFrame:
    """Return the light curves of a list: of ids as they are, of positions all within the radius.

    Parameters
    ----------
    origin : Origin
    wanted : SourceList
    radius_arcsec : float

    Returns
    -------
    pandas.DataFrame
        ``ztf_id``, ``obj_id`` (and the same as ``fritz_name``), ``ra``, ``dec``, ``field``, ``ccd``, ``quad``,
        ``filter``; a light curve within the radius of several positions belongs to the nearest.
    """
    import numpy as np

    from scope_dask.crossmatch.sphere import separation_arcsec, unit_vectors

    names = np.array(wanted.names, dtype=object)
    if wanted.ids is not None:
        sources = origin.by_id(wanted.ids)
        ids, first = np.unique(wanted.ids, return_index=True)
        own = names[first[np.searchsorted(ids, sources["_id"])]]
    else:
        assert wanted.ra is not None
        assert wanted.dec is not None
        sources = origin.around(wanted.ra, wanted.dec, radius_arcsec)
        positions = sources.pop("position").to_numpy(np.int64)
        here = unit_vectors(sources["ra"], sources["dec"])
        away = separation_arcsec(here, np.arange(len(here)), unit_vectors(wanted.ra, wanted.dec), positions)
        order = np.lexsort([positions, away])
        sources, own = sources.iloc[order], names[positions[order]]
    sources = sources.assign(obj_id=own, fritz_name=own).drop_duplicates("_id").sort_values("_id", ignore_index=True)
    sources = sources.astype({"obj_id": "str", "fritz_name": "str"}).rename(columns={"_id": "ztf_id"})
    return sources[["ztf_id", "obj_id", "fritz_name", "ra", "dec", "field", "ccd", "quad", "filter"]]


def specific(sources: pd.DataFrame, wanted: SourceList) -> SpecificIds:
    """Return the ids of the sources that were found, with their names; ids that were asked for stay, to be listed."""
    from scope_dask.generation.specific import specific_ids

    names = dict(zip(sources["ztf_id"].tolist(), sources["fritz_name"], strict=True))
    ids = sources["ztf_id"].to_numpy() if wanted.ids is None else wanted.ids
    return specific_ids(ids, [names.get(int(i)) for i in ids])


def as_ids(wanted: SourceList) -> SpecificIds:
    """Return the ids of a list before anything is looked up; of positions there are none."""
    import numpy as np

    from scope_dask.generation.specific import specific_ids

    return specific_ids(np.empty(0, np.int64) if wanted.ids is None else wanted.ids, list(wanted.names))


def _scoring(models: Models, directory: str, current_dt: str) -> str:
    words = ["run-inference", "--field", f"{current_dt}_specific_ids", "--feature-directory", directory]
    return shlex.join([*words, "--paths-models", f"models_{models.algorithm}/{models.group}"])


COMMAND = Command(
    "run-scope-local", "Generate features of the sources in a file, on this machine or a cluster.", ARGUMENTS, run
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
