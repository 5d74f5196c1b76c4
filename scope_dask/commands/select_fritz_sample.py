"""``select-fritz-sample``: sources of each class for people to look at on Fritz."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scope_dask.commands._parser import Call, Command, flag, option, values
from scope_dask.errors import ModelError, OptionError, SourceError

if TYPE_CHECKING:
    import pandas as pd

    from scope_dask.predictions.sampling import SampleOptions

ARGUMENTS = (
    values("--fields", "fields, <label>_specific_ids, or all", default=["all"]),
    option("--group", "group of the models in models_<algorithm>: its classes are drawn", default="experiment"),
    option("--min-class-examples", "sources of each class", int, 1000),
    flag("--select-top-n", "those with the highest scores, not random ones"),
    flag("--include-all-highprob-labels", "keep all classes of a source that reach the threshold"),
    option("--probability-threshold", "least score of a source of a class", float, 0.9),
    option("--al-directory", "folder of the sample, before _<algorithm>", default="AL_datasets"),
    option("--al-filename", "name of the sample", default="active_learning_set"),
    option("--algorithm", "kind of the models", default="dnn", choices=("dnn", "xgb")),
    flag("--exclude-training-sources", "leave out the sources of training: dataset in config.yaml"),
    flag("--write-csv", "write the sample as CSV too"),
    option(
        "--consolidation-statistic",
        "of the scores of a source's light curves in a field",
        default="mean",
        choices=("mean", "median", "max"),
    ),
    flag("--read-consolidation-results", "start from the sources that an earlier call wrote"),
    flag("--write-consolidation-results", "write the sources: by field (_full) and all fields together (_consol)"),
    option("--consol-filename", "what the names of these files begin with", default="inference_results"),
    flag("--doNotSave", "draw, and write no sample"),
    flag("--doAllSources", "all sources with all scores, none is drawn"),
    option("--random-state", "seed of the drawing", int, 9),
    option("--radius-arcsec", "light curves without any identifier are of one source within this radius", float, 1.5),
    option("--path-to-preds", "folder of the predictions", default=".", config=("inference", "path_to_preds")),
)


def run(call: Call) -> None:
    """Draw a sample, or tell what would be done."""
    from scope_dask.predictions.sampling import sample, with_not_variable

    check(call)
    options = call.options
    if call.dry_run:
        show(call)
        return
    sources = with_not_variable(consolidated(call), options.algorithm)
    columns = columns_of(call, [str(c) for c in sources.columns])
    if not columns:
        raise SourceError(f"there are no scores that end in _{options.algorithm}: is --algorithm right?")
    if options.doAllSources:
        chosen, counts = sources, {c: int((sources[c] >= options.probability_threshold).sum()) for c in columns}
    else:
        chosen, counts = sample(sources, columns, how_of(call))
    for name, count in counts.items():
        call.say(f"{name}: {count}")
    if options.doNotSave:
        call.say(f"{len(chosen)} of {len(sources)} sources; nothing is saved")
        return
    save(call, chosen, counts, len(sources))


def check(call: Call) -> None:
    """Check the numbers.

    Raises
    ------
    OptionError
    """
    options = call.options
    for name, valid, expected in (
        ("min_class_examples", options.min_class_examples >= 1, "1 or more"),
        ("probability_threshold", 0 <= options.probability_threshold <= 1, "0 to 1"),
        ("radius_arcsec", options.radius_arcsec > 0, "more than 0"),
    ):
        if not valid:
            raise OptionError(f"--{name.replace('_', '-')} is {getattr(options, name)}, expected {expected}")


def how_of(call: Call) -> SampleOptions:
    """Return how sources are drawn."""
    from scope_dask.predictions.sampling import SampleOptions

    options = call.options
    return SampleOptions(
        options.min_class_examples,
        options.select_top_n,
        options.include_all_highprob_labels,
        options.probability_threshold,
        options.random_state,
    )


def folder_of(call: Call) -> Path:
    """Return the folder of the samples of an algorithm."""
    return Path(f"{call.options.al_directory}_{call.options.algorithm}")


def sample_file(call: Call) -> Path:
    name = call.options.al_filename
    return folder_of(call) / name / f"{name}.parquet"


def predictions_folder(call: Call) -> Path:
    return Path(os.path.expanduser(call.options.path_to_preds)) / f"preds_{call.options.algorithm}"


def consolidation_files(call: Call) -> tuple[Path, Path]:
    """Return the files of the sources: of each field, and of all fields together."""
    name = call.options.consol_filename
    return folder_of(call) / f"{name}_full.parquet", folder_of(call) / f"{name}_consol.parquet"


def columns_of(call: Call, columns: list[str]) -> list[str]:
    """Return the columns of the classes that are drawn: those of the group's models, if it is there.

    Raises
    ------
    ModelError
        If the group was given and has no models.
    """
    from scope_dask.inference.models import model_files
    from scope_dask.predictions.sampling import NOT_VARIABLE
    from scope_dask.predictions.sources import score_columns

    algorithm = call.options.algorithm
    found = score_columns(columns, [algorithm])
    folder = Path(f"models_{algorithm}") / call.options.group
    if not folder.is_dir() and "group" not in call.given:
        return found
    tags = {path.name.rsplit(".", 2)[0] for path in model_files(folder)} | {NOT_VARIABLE}
    chosen = [name for name in found if name.removesuffix(f"_{algorithm}") in tags]
    if found and not chosen:
        raise ModelError(f"the predictions have no score of the classes in {folder}; they have {', '.join(found)}")
    return chosen


def consolidated(call: Call) -> pd.DataFrame:
    """Return one row a source, of all fields together.

    Raises
    ------
    SourceError
        If there are no predictions, or no results of an earlier call.
    """
    import pandas as pd

    from scope_dask.formats import common_schema, read_table, write_table
    from scope_dask.predictions.layout import known_fields, prediction_files
    from scope_dask.predictions.sampling import across_fields, per_field

    options = call.options
    full, consol = consolidation_files(call)
    if options.read_consolidation_results:
        return read_table(consol)
    folder = predictions_folder(call)
    training = training_set(call)
    tables = []
    columns: dict[str, None] = {}
    for field in known_fields(options.fields, folder):
        files = prediction_files(folder, field)
        own = columns_of(call, common_schema(files).names)
        columns |= dict.fromkeys(own)
        tables.append(per_field(files, own, options.consolidation_statistic, training, options.radius_arcsec))
        call.say(f"field {field}: {len(tables[-1])} sources", level=2)
    found = across_fields(tables, list(columns), options.radius_arcsec)
    if found.empty:
        raise SourceError(f"the predictions in {folder} leave no source")
    if options.write_consolidation_results:
        write_table(pd.concat(tables, ignore_index=True), full, {})
        write_table(found, consol, {})
    return found


def training_set(call: Call) -> pd.DataFrame | None:
    """Return what tells the sources of the training set, if they are left out."""
    from scope_dask.formats import read_table
    from scope_dask.predictions.scoring import MATCHES

    if not call.options.exclude_training_sources:
        return None
    path = call.config.section("training", "dataset")
    if path is None or not Path(path).exists():
        raise SourceError(
            "--exclude-training-sources needs the training set, training: dataset: of the configuration; "
            f"{path} is no file"
        )
    table = read_table(path)
    names = ("ztf_id", "_id", "obj_id", "ra", "dec", *MATCHES)
    return table[[name for name in names if name in table]]


def save(call: Call, chosen: pd.DataFrame, counts: dict[str, int], total: int) -> None:
    """Write the sample and its counts."""
    from scope_dask._version import __version__
    from scope_dask.formats import write_table
    from scope_dask.formats.atomic import replacing

    options = call.options
    path = sample_file(call)
    keys = ("fields", "group", "algorithm", "min_class_examples", "probability_threshold", "random_state")
    metadata = {"scope_code_version": __version__, **{key: getattr(options, key) for key in keys}}
    for file in (path, *([path.with_suffix(".csv")] if options.write_csv else [])):
        write_table(chosen, file, metadata)
    with replacing(path.with_name("meta.json")) as temporary:
        temporary.write_text(json.dumps({"total": len(chosen), "sources": total, "counts": counts}, indent=1))
    call.say(f"{len(chosen)} of {total} sources in {path}")


def show(call: Call) -> None:
    """Print what would be read and written."""
    from scope_dask.predictions.layout import known_fields, prediction_files

    folder = predictions_folder(call)
    if call.options.read_consolidation_results:
        call.say(f"would read {consolidation_files(call)[1]}")
    else:
        for field in known_fields(call.options.fields, folder):
            call.say(f"would read {', '.join(map(str, prediction_files(folder, field)))}")
    call.say("would write no file" if call.options.doNotSave else f"would write {sample_file(call)}")


COMMAND = Command("select-fritz-sample", "Draw sources of each class for labelling on Fritz.", ARGUMENTS, run)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
