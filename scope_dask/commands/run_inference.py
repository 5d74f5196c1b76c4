"""``run-inference``: scores of a field, a quadrant or specific ids by all models, in one pass over the features."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scope_dask.commands._parser import Call, Command, cluster, flag, option, values
from scope_dask.errors import ModelError, OptionError, nearest

if TYPE_CHECKING:
    from distributed import Client

    from scope_dask.inference.models import Models
    from scope_dask.predictions.original import Preparations
    from scope_dask.predictions.run import Job

ARGUMENTS = (
    values(
        "--paths-models",
        "models: files, folders of a class, or folders of classes, of which the newest models are taken",
        required=True,
    ),
    values("--model-class-names", "classes of the models of --paths-models, in their order, or which of them to take"),
    option("--field", "ZTF field, specific_ids or <label>_specific_ids", default="296"),
    option("--ccd", "CCD, 1 to 16", int, 1),
    option("--quad", "quadrant, 1 to 4", int, 1),
    flag("--whole-field", "all quadrants of the field, in one file"),
    flag("--flag-ids", "write which features every light curve lacks, as <file>_flagged.json"),
    flag("--xgb-model", "only the XGBoost models of --paths-models; false: only the neural networks; not given: both"),
    flag("--time-run", "print how long each step takes"),
    flag("--write-csv", "write the scores as CSV too"),
    values(
        "--float-convert-types",
        "bits of floats of the features and of what models see; a model's own if not given",
        int,
        (64, 32),
        most=2,
    ),
    option("--feature-stats", "statistics to scale by where a model has no manifest: config, or a file"),
    option("--scale-features", "scaling where a model has no manifest", default="min_max"),
    option("--trainingSet", "training set to scale and impute by where a model has no manifest", default="use_config"),
    option("--feature-directory", "folder of the features", default="features"),
    option("--feature-file-prefix", "what the names of generated files begin with", default="gen_features"),
    option(
        "--period-suffix",
        "period algorithm whose period is written, and whose features a model without a manifest sees",
        config=("features", "info", "period_suffix"),
    ),
    flag("--no-write-metadata", "write no metadata and no meta.json"),
    option("--batch-size", "most rows that are scored at a time", int, 100_000),
    option("--path-to-preds", "folder of preds_dnn and preds_xgb", default=".", config=("inference", "path_to_preds")),
    cluster(),
    option("--n-workers", "threads of this process that score; one per core if not given", int),
    flag("--overwrite", "score again what is there"),
)


def run(call: Call) -> None:
    """Score light curves, or tell what would be done."""
    with timed(call, "read models and columns"):
        job = job_of(call)
        job.tables  # noqa: B018 - columns and types are checked
    if call.dry_run:
        show(call, job)
    else:
        score(call, job)


def score(call: Call, job: Job) -> None:
    """Score light curves as the command line asks for it, and print what was made."""
    from scope_dask.predictions.run import run as write

    with timed(call, "score and write"), client_of(call) as client:
        made = write(job, client, overwrite=call.options.overwrite)
    for path in made.paths:
        call.say(
            f"{path} is there already, of the same features and models: --overwrite makes it again"
            if made.summary is None
            else f"{job.target}: {made.rows} light curves in {path}"
        )
    if made.summary is not None and (aside := made.summary.stages.get("scores")) and aside.set_aside:
        for reason, count in sorted(aside.set_aside.items()):
            call.say(f"without some score: {count}, {reason}")


def job_of(call: Call, models: Models | None = None) -> Job:
    """Return what a command line asks for.

    Parameters
    ----------
    call : Call
    models : Models, optional
        By default those of the command line.

    Raises
    ------
    OptionError, SourceError, ModelError, SchemaError
    """
    from scope_dask.predictions.layout import Target
    from scope_dask.predictions.reading import FeatureFiles
    from scope_dask.predictions.run import Job

    options = call.options
    check_numbers(call)
    quadrant = {} if options.whole_field else {"ccd": options.ccd, "quad": options.quad}
    target = Target(options.field, **({} if "specific_ids" in options.field else quadrant))
    files = FeatureFiles.find(target.features(feature_folder(call), options.feature_file_prefix))
    suffix = suffix_of(call)
    return Job(
        target,
        files,
        models_of(call) if models is None else models,
        Path(os.path.expanduser(options.path_to_preds)),
        options.batch_size,
        f"period_{suffix}" if suffix else "period",
        options.flag_ids,
        options.write_csv,
        not options.no_write_metadata,
    )


def check_numbers(call: Call) -> None:
    """Check the options that are numbers.

    Raises
    ------
    OptionError
    """
    for name in ("batch_size", "n_workers"):
        if (number := getattr(call.options, name)) is not None and number < 1:
            raise OptionError(f"--{name.replace('_', '-')} is {number}, expected 1 or more")


def suffix_of(call: Call) -> str | None:
    """Return the period algorithm of ``--period-suffix``, or of the configuration; None: names have no suffix."""
    from scope_dask.user_config.features import period_suffix

    if "period_suffix" in call.given:
        return None if call.options.period_suffix in ("None", "") else str(call.options.period_suffix)
    return period_suffix(call.config)


def feature_folder(call: Call) -> Path:
    """Return the folder of the features: below ``feature_generation: path_to_features`` where it is there."""
    name = os.path.expanduser(call.options.feature_directory)
    root = call.config.get("feature_generation", "path_to_features")
    below = Path(os.path.expanduser(root)) / name if root else Path(name)
    return below if below.is_dir() else Path(name)


def models_of(call: Call) -> Models:
    """Return the models of the command line, with the names of their classes.

    Raises
    ------
    OptionError, ModelError
    """
    from scope_dask.inference.models import Models, load_models

    options = call.options
    paths, names = options.paths_models, options.model_class_names
    preparations = preparations_of(call)
    if names and len(names) == len(paths):
        each = [load_models(path, _of_class(preparations, path, name)) for path, name in zip(paths, names, strict=True)]
        if all(len(own) == 1 for own in each):
            found = [replace(own.models[0], tag=name) for own, name in zip(each, names, strict=True)]
            return _checked(call, Models(tuple(found)))
    models = load_models(paths, preparations)
    if names:
        if unknown := [name for name in names if name not in models.tags]:
            raise OptionError(
                f"--model-class-names has {unknown[0]!r}{nearest(unknown[0], models.tags)}; the models of "
                f"--paths-models are of {', '.join(dict.fromkeys(models.tags))}"
            )
        models = Models(tuple(model for model in models if model.tag in names))
    return _checked(call, models)


def _of_class(preparations: Preparations, path: str, name: str) -> Preparations:
    """Return the preparations where the file of a class may be called otherwise."""
    tag = Path(path).name.split(".")[0]
    return replace(preparations, names={} if name not in preparations else {tag: name})


def _checked(call: Call, models: Models) -> Models:
    """Return the models that are asked for, rounding what they see where that is asked for."""
    from scope_dask.inference.models import Models

    found = models.models
    if "xgb_model" in call.given:
        kind = "xgb" if call.options.xgb_model else "dnn"
        found = tuple(model for model in found if model.algorithm == kind)
        if not found:
            raise ModelError(f"--xgb-model leaves no model: those of --paths-models are of the other kind than {kind}")
    if "float_convert_types" in call.given:
        bits = float_bits(call)
        found = tuple(replace(m, preparation=replace(m.preparation, float_bits=bits)) for m in found)
    columns = [model.column for model in found]
    if twice := [column for column in columns if columns.count(column) > 1]:
        raise OptionError(f"--model-class-names gives two models the column {twice[0]}: name each class once")
    return Models(found)


def float_bits(call: Call) -> int:
    """Return how many bits the floats have that models see."""
    from scope_dask.predictions.original import BITS

    found = call.options.float_convert_types
    if len(found) != 2 or found[0] != BITS[0] or found[1] not in BITS:
        shown = " ".join(map(str, found))
        raise OptionError(f"--float-convert-types is {shown}, expected 64 (what features are) and 64, 32 or 16")
    return int(found[1])


def preparations_of(call: Call) -> Preparations:
    """Return how models without a manifest are fed."""
    from scope_dask.predictions.original import SCALINGS, Preparations, statistics_of

    options = call.options
    if options.scale_features not in SCALINGS:
        raise OptionError(
            f"--scale-features is {options.scale_features!r}{nearest(options.scale_features, SCALINGS)}; expected "
            f"{', '.join(SCALINGS)}"
        )
    dataset = options.trainingSet
    if dataset == "use_config":
        dataset = call.config.section("training", "dataset")
    statistics = statistics_of(options.feature_stats, call.config)
    return Preparations(call.config, suffix_of(call), options.scale_features, statistics, dataset, float_bits(call), {})


@contextmanager
def client_of(call: Call) -> Iterator[Client]:
    """Yield a client of the cluster that is asked for, or of threads in this process."""
    from distributed import Client

    if call.options.cluster:
        from scope_dask.cluster.connect import client_of as named

        with named(call.options.cluster) as client:
            yield client
        return
    how: dict[str, Any] = {"threads_per_worker": call.options.n_workers} if call.options.n_workers else {}
    with Client(processes=False, n_workers=1, dashboard_address="127.0.0.1:0", **how) as client:
        yield client


@contextmanager
def timed(call: Call, what: str) -> Iterator[None]:
    """Print how long a block took, with ``--time-run``."""
    start = time.perf_counter()
    yield
    if call.options.time_run:
        call.say(f"{what:<50} --> {time.perf_counter() - start:.4f} s", level=0)


def show(call: Call, job: Job) -> None:
    """Print what would be read and written."""
    table = next(iter(job.tables.values()))
    call.say(f"would read {len(job.files.files)} files of {job.target}: {', '.join(f.path for f in job.files.files)}")
    call.say(f"would score them with {len(job.models)} models in {table.npartitions} partitions")
    for algorithm in job.outputs:
        call.say(f"would write {' and '.join(map(str, job.written(algorithm)))}")


COMMAND = Command("run-inference", "Score the light curves of a ZTF field with trained models.", ARGUMENTS, run)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
