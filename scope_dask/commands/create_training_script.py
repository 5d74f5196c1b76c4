"""``create-training-script``: a shell script with a line of scope-train for each class."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scope_dask.commands._parser import Call, Command, flag, option
from scope_dask.commands._training import dataset_of, dnn_or_xgb, models_folder, newest_model
from scope_dask.errors import OptionError, SourceError, UsageError

ARGUMENTS = (
    option("--filename", "script to write; it must not be there", default="train_script.sh"),
    option("--algorithm", "dnn or xgb", dnn_or_xgb, "dnn"),
    option("--min-count", "least rows above the threshold of a class", int, 100),
    option("--path-dataset", "labelled features: csv, h5, parquet", config=("training", "dataset")),
    option("--pre-trained-group-name", "group of models whose training is continued; only their classes are taken"),
    option("--add-keywords", "more options of each line; they come last and win", default="", verbatim=True),
    flag("--train-all", "with --pre-trained-group-name: classes without a model too"),
    option("--period-suffix", "period algorithm of the features; None: names without one; else by the configuration"),
)


@dataclass(frozen=True)
class Line:
    """A class of the script.

    Attributes
    ----------
    tag : str
    phenomenological : bool
    rows : int
        Above the threshold.
    model : Path or None
        To continue with.
    """

    tag: str
    phenomenological: bool
    rows: int
    model: Path | None

    def words(self, call: Call, dataset: Path) -> list[str]:
        """Return the line as words, without the added keywords."""
        words = ["scope-train", "--tag", self.tag, "--algorithm", call.options.algorithm]
        words += ["--path-dataset", str(dataset)]
        words += ["--pre-trained-model", str(self.model)] if self.model else []
        words += ["--period-suffix", call.options.period_suffix] if call.options.period_suffix else []
        words += ["--config-path", call.options.config_path] if "config_path" in call.given else []
        return [*words, "--verbose"]


def lines_of(call: Call, dataset: Path) -> Iterator[Line]:
    """Yield the classes that are trained, phenomenological ones first.

    Raises
    ------
    SchemaError, SourceError
        If the training set cannot be read, or its labels are no numbers.
    """
    from scope_dask.formats import read_table
    from scope_dask.training.labelled import class_labels as values_of
    from scope_dask.training.labelled import columns_of
    from scope_dask.training.options import ModelOptions
    from scope_dask.user_config.training import class_labels

    options = call.options
    columns = columns_of(dataset)
    there = {
        tag: next((c for c in (label, tag) if c in columns), None) for tag, label in class_labels(call.config).items()
    }
    frame = read_table(dataset, list(dict.fromkeys(column for column in there.values() if column)))
    group = options.pre_trained_group_name
    folder = models_folder(options.algorithm, group) if group else None
    if folder is not None and not folder.is_dir():
        raise SourceError(f"there is no group {group}: no folder {folder}")
    for tag, column in there.items():
        if column is None:
            call.say(f"{tag}: the training set has no labels of it")
            continue
        stated = call.config.section("training", "classes")[tag] or {}
        threshold = stated.get("threshold", ModelOptions().threshold)
        rows = int((values_of(frame, column, threshold) > threshold).sum())
        model = newest_model(folder, tag) if folder else None
        if rows < options.min_count:
            call.say(f"{tag}: {rows} rows, fewer than --min-count", level=2)
        elif folder is not None and model is None and not options.train_all:
            call.say(f"{tag}: no model in {folder}", level=2)
        else:
            yield Line(tag, stated.get("features") == "phenomenological", rows, model)


def script(call: Call, lines: list[Line], dataset: Path) -> str:
    """Return the text of the script.

    Raises
    ------
    OptionError
        If the added keywords are no options of scope-train.
    """
    from scope_dask.commands.scope_train import COMMAND as TRAIN

    extra = call.options.add_keywords.strip()
    try:
        added = shlex.split(extra)
    except ValueError as error:
        raise OptionError(f"--add-keywords cannot be read as words: {error}") from None
    text = ["#!/bin/bash"]
    for phenomenological, title in ((True, "Phenomenological"), (False, "Ontological")):
        text += ["", f"# {title} classes"]
        for line in (line for line in lines if line.phenomenological is phenomenological):
            words = line.words(call, dataset)
            try:
                TRAIN.parse([*words[1:], *added])
            except OptionError as error:
                raise OptionError(f"--add-keywords {extra!r}: {error}") from None
            text.append(" ".join([shlex.join(words), extra]).rstrip())
    return "\n".join(text) + "\n"


def run(call: Call) -> None:
    """Write the script, or tell what it would be."""
    target = Path(call.options.filename)
    if target.exists():
        raise UsageError(f"{target} is there already: remove it or name another with --filename")
    if call.options.min_count < 1:
        raise OptionError(f"--min-count is {call.options.min_count}, expected 1 or more")
    dataset = dataset_of(call)
    lines = list(lines_of(call, dataset))
    if not lines:
        group = call.options.pre_trained_group_name
        what = f" and a model in the group {group}" if group and not call.options.train_all else ""
        raise UsageError(f"no class has {call.options.min_count} rows in {dataset}{what}: lower --min-count")
    text = script(call, lines, dataset)
    if call.dry_run:
        call.say(f"would write {target}:\n{text}".rstrip())
        return
    _write(target, text)
    call.say(f"{len(lines)} classes in {target}")


def _write(target: Path, text: str) -> None:
    """Write an executable file that was not there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o777), "w", encoding="utf-8") as file:
        file.write(text)


COMMAND = Command("create-training-script", "Write a script with a line of scope-train for each class.", ARGUMENTS, run)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
