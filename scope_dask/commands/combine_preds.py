"""``combine-preds``: the predictions of neural networks and of XGBoost together."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scope_dask.commands._parser import Call, Command, flag, option
from scope_dask.errors import OptionError, SourceError

if TYPE_CHECKING:
    from scope_dask.predictions.combining import Combination, CombineOptions

ARGUMENTS = (
    option("--path-to-preds", "folder of the predictions", default=".", config=("inference", "path_to_preds")),
    option("--combined-preds-dirname", "folder of the combined predictions", default="preds_dnn_xgb"),
    option("--specific-field", "only this field, or <label>_specific_ids"),
    flag("--use-config-fields", "only the fields of inference: fields_to_run in config.yaml"),
    option("--dateobs", "only the sources of this GCN event, such as 2023-05-21T05:30:43, one row each"),
    flag("--merge-dnn-xgb", "one score a class, of both kinds of models"),
    option("--dnn-directory", "folder of the neural networks' predictions", default="preds_dnn"),
    option("--xgb-directory", "folder of XGBoost's predictions", default="preds_xgb"),
    flag("--doNotSave", "combine, and write no file"),
    flag("--write-csv", "write the combined predictions as CSV too"),
    option("--agg-method", "how scores become one", default="mean", choices=("mean", "max")),
    option("--p-threshold", "classes with a larger score are listed in <field>_meta.json", float, 0.7),
    flag("--consolidate", "one row a source, not a light curve"),
    option("--radius-arcsec", "light curves without any identifier are of one source within this radius", float, 1.5),
)


def run(call: Call) -> None:
    """Combine predictions, or tell what would be done."""
    from scope_dask.predictions.combining import combined, write_combination

    done = []
    for combination in combinations(call):
        if call.dry_run:
            files = [str(path) for own in combination.inputs.values() for path in own]
            call.say(f"would read {', '.join(files)}")
            call.say(f"would write {combination.output}")
            continue
        if call.options.doNotSave:
            rows = sum(map(len, combined(combination)))
            call.say(f"{combination.name}: {rows} rows; nothing is saved")
            continue
        csv = combination.output.with_suffix(".csv")
        if combination.there and (csv.is_file() or not call.options.write_csv):
            call.say(f"{combination.name}: {combination.output} is there already")
        else:
            rows = write_combination(combination, call.options.write_csv)
            call.say(f"{combination.name}: {rows} rows in {combination.output}")
        done.append(combination.name)
    if done and not call.options.dateobs:
        add_fields(folder_of(call) / call.options.combined_preds_dirname / "fields.json", done)


def folder_of(call: Call) -> Path:
    return Path(os.path.expanduser(call.options.path_to_preds))


def combinations(call: Call) -> list[Combination]:
    """Return what is combined.

    Raises
    ------
    OptionError, SourceError
    """
    from scope_dask.predictions.combining import Combination

    options = call.options
    chosen = [n for n in ("specific_field", "use_config_fields", "dateobs") if getattr(options, n)]
    if len(chosen) > 1:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in chosen)
        raise OptionError(f"{names} are given: one of them decides which fields are combined")
    how = how_of(call)
    out = folder_of(call) / options.combined_preds_dirname
    if options.dateobs:
        return [event(call, out)]
    return [
        Combination(field, inputs_of(call, field), out / f"field_{field}.parquet", options=how)
        for field in fields(call)
    ]


def how_of(call: Call) -> CombineOptions:
    """Return the options of the combination."""
    from scope_dask.predictions.combining import CombineOptions

    options = call.options
    for name, valid, expected in (
        ("p_threshold", 0 <= options.p_threshold <= 1, "0 to 1"),
        ("radius_arcsec", options.radius_arcsec > 0, "more than 0"),
    ):
        if not valid:
            raise OptionError(f"--{name.replace('_', '-')} is {getattr(options, name)}, expected {expected}")
    per_source = options.consolidate or bool(options.dateobs)
    return CombineOptions(
        options.merge_dnn_xgb, options.agg_method, options.p_threshold, per_source, options.radius_arcsec
    )


def directories(call: Call) -> dict[str, Path]:
    root = folder_of(call)
    return {"dnn": root / call.options.dnn_directory, "xgb": root / call.options.xgb_directory}


def fields(call: Call) -> list[str]:
    """Return the fields that are asked for; by default all that there are predictions of."""
    from scope_dask.predictions.layout import predicted_fields

    if call.options.specific_field:
        return [str(call.options.specific_field)]
    if call.options.use_config_fields:
        found = call.config.section("inference", "fields_to_run")
        return [str(field) for field in (found if isinstance(found, list) else [found])]
    both = [field for folder in directories(call).values() for field in predicted_fields(folder)]
    if not both:
        shown = " or ".join(map(str, directories(call).values()))
        raise SourceError(f"there are no predictions in {shown}: run-inference makes them")
    return list(dict.fromkeys(both))


def inputs_of(call: Call, field: str) -> dict[str, list[Path]]:
    """Return the files of a field; one kind of model may have none.

    Raises
    ------
    SourceError
        If neither has.
    """
    from scope_dask.predictions.layout import prediction_files

    found = {}
    for kind, folder in directories(call).items():
        try:
            found[kind] = prediction_files(folder, field)
        except SourceError:
            found[kind] = []
    if not any(found.values()):
        shown = " or ".join(map(str, directories(call).values()))
        raise SourceError(f"there are no predictions of field {field} in {shown}: run-inference makes them")
    return found


def event(call: Call, out: Path) -> Combination:
    """Return the combination of the sources of a GCN event.

    Raises
    ------
    SourceError
        If there are no predictions of it, or several.
    """
    from scope_dask.formats import common_schema
    from scope_dask.predictions.combining import Combination

    name = call.options.dateobs.replace(":", "-")
    inputs = {kind: sorted(d.glob(f"*{name}*/*{name}*.parquet")) for kind, d in directories(call).items()}
    for kind, files in inputs.items():
        if len(files) > 1:
            raise SourceError(f"there are several files of {name} for {kind}: {', '.join(map(str, files))}; keep one")
    if not any(inputs.values()):
        shown = " or ".join(map(str, directories(call).values()))
        raise SourceError(
            f"there are no predictions of {name} in {shown}: run-inference or select-fritz-sample make them"
        )
    known = [common_schema(files).names for files in inputs.values() if files]
    sources = all({"obj_id", "n_lightcurves"} <= set(names) for names in known)
    output = out / name / f"merged_GCN_sources_{name}.parquet"
    return Combination(name, inputs, output, "obj_id" if sources else "_id", how_of(call))


def add_fields(path: Path, names: list[str]) -> None:
    """Add fields to the list of those that are combined."""
    from scope_dask.formats.atomic import replacing

    try:
        known = json.loads(path.read_text())["fields"]
    except (OSError, ValueError, KeyError, TypeError):
        known = []
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"fields": list(dict.fromkeys([*known, *names]))}))


COMMAND = Command(
    "combine-preds", "Combine the predictions of neural networks and of XGBoost.", ARGUMENTS, run, on_worker=True
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
