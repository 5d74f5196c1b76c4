"""``run-scope-local``: features and scores of the sources in a list, in folders that are named after the time."""

from __future__ import annotations

import argparse
import sys
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from scope_dask.commands import run_inference
from scope_dask.commands._layout import find_file
from scope_dask.commands._parser import Argument, Call, Command, option, values
from scope_dask.commands.generate_features import CATALOGS, COMPUTATION, FILES, RUNNING, generated, show, tell
from scope_dask.errors import OptionError

if TYPE_CHECKING:
    import pandas as pd

    from scope_dask.generation import FeatureFolder, Job, Origin, SpecificIds
    from scope_dask.inference.models import Models
    from scope_dask.sources.lists import SourceList

SPELLINGS = {"xgb": "xgb", "xgboost": "xgb", "dnn": "dnn", "nn": "dnn"}

OWN = (
    option("--path-dataset", "file with ids (ztf_id) or positions (ra, dec): parquet, h5 or csv", required=True),
    option("--cone-radius-arcsec", "light curves within this radius of a position are its own", float, 2.0),
    option("--save-sources-filepath", "file for the sources that were found", default="sources.parquet"),
    values("--algorithms", "algorithms of the models: xgb, dnn"),
    values("--group-names", "groups of the models, in the order of --algorithms"),
)
GENERATION = (*CATALOGS, *COMPUTATION, *FILES, *RUNNING)
# Which features there are, and which models score them, is decided here.
_DECIDED = ("--whole-field", "--xgb-model", "--feature-directory", "--feature-file-prefix")


def _scoring() -> tuple[Argument, ...]:
    """Return the options of ``run-inference`` that this command has."""
    left_out = {"--field", "--ccd", "--quad", *(argument.name for argument in GENERATION)}
    taken = {a.name: a for a in run_inference.ARGUMENTS if a.name not in left_out}
    paths = taken["--paths-models"]
    taken[paths.name] = replace(paths, required=False, help=f"{paths.help}; those of --group-names if not given")
    return tuple(
        replace(argument, help="taken and not used: this command decides") if name in _DECIDED else argument
        for name, argument in taken.items()
    )


ARGUMENTS = (*OWN, *GENERATION, *_scoring())


def run(call: Call) -> None:
    """Find the sources, generate and score their features, and print the time that the folders are named after."""
    if current_dt := run_scope_local(call):
        call.say(current_dt, level=0)


def run_scope_local(call: Call) -> str:
    """Generate the features of the sources in a list, and score them with the models that are named.

    Returns
    -------
    str
        The time (UTC) after which the folders are named, ``%Y-%m-%dT%H-%M-%S``; empty after ``--dry-run``.

    Raises
    ------
    OptionError, SourceError, ModelError, RunError
    """
    from scope_dask.commands._generation import check_device, folder_of, job_of
    from scope_dask.formats import suffix_of, write_table
    from scope_dask.sources.lists import read_list

    paths = call.options.paths_models or groups_of(call)
    check_device(call)
    run_inference.check_numbers(call)
    suffix_of(call.options.save_sources_filepath)
    wanted = read_list(find_file(call.options.path_dataset))
    current_dt = f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}"
    folder = folder_of(call, f"_{current_dt}")
    scoring = scoring_of(call, paths, current_dt, folder)
    models = run_inference.models_of(scoring) if paths else None
    job = job_of(call, as_ids(wanted), folder)
    check_models(models, job)
    if call.dry_run:
        call.say(f"would look up {len(wanted)} sources in {job.origin.name}")
        show(call, job)
        call.say(f"would write {call.options.save_sources_filepath}")
        if models is not None:
            call.say(f"would score them with {len(models)} models: {' '.join(paths)}")
        return ""
    sources = found_sources(job.origin, wanted, call.options.cone_radius_arcsec)
    if sources.empty:
        warnings.warn(f"none of {call.options.path_dataset} has light curves", UserWarning, stacklevel=2)
    write_table(sources, call.options.save_sources_filepath)
    call.say(f"{len(sources)} light curves of {len(wanted)} sources in {call.options.save_sources_filepath}")
    tell(call, generated(call, replace(job, what=specific(sources, wanted))))
    if models is not None:
        run_inference.score(scoring, run_inference.job_of(scoring, models))
    return current_dt


def groups_of(call: Call) -> list[str]:
    """Return the folders of the models that are asked for, ``models_<algorithm>/<group>``.

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
    return [f"models_{name}/{group}" for name, group in zip(names, groups, strict=False)]


def scoring_of(call: Call, paths: list[str], current_dt: str, folder: FeatureFolder) -> Call:
    """Return the call of ``run-inference`` that scores the features of this one."""
    own = {
        "field": f"{current_dt}_specific_ids",
        "whole_field": True,
        "paths_models": paths,
        "feature_directory": str(folder.root),
        "feature_file_prefix": call.options.filename,
    }
    options = argparse.Namespace(**{**vars(call.options), **own})
    return replace(call, options=options, given=call.given - {"xgb_model"})


def check_models(models: Models | None, job: Job) -> None:
    """Check that the features of a job will be those of the models, before the work begins.

    Raises
    ------
    ModelError
    """
    from scope_dask.inference.scores import scores

    if models is not None:
        scores(job.table()._meta, models, job.options.features.fourier)


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


COMMAND = Command(
    "run-scope-local",
    "Generate and score features of the sources in a file, on this machine or a cluster.",
    ARGUMENTS,
    run,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
