"""``assemble-training-stats``: the statistics of all classes of a group in one table, and a page that compares them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scope_dask.commands._parser import Call, Command, option
from scope_dask.commands._training import dnn_or_xgb, models_folder
from scope_dask.errors import SourceError

if TYPE_CHECKING:
    from scope_dask.training.comparison import Record

IMPORTANCE = "xgb_feature_importance"

ARGUMENTS = (
    option("--group-name", "group of models", default="experiment"),
    option("--algorithm", "dnn or xgb; the page has the models of the other one in the group, too", dnn_or_xgb, "dnn"),
    option("--set-name", "rows: train, val or test", default="val", choices=("train", "val", "test")),
    option("--importance-directory", "folder of the importance of features, of xgb", default=IMPORTANCE),
    option("--stats-directory", "folder of the statistics", default="stats"),
)


def run(call: Call) -> None:
    """Assemble the statistics, or tell what would be read and written."""
    from scope_dask.training.comparison import records

    options = call.options
    group, kind, part = options.group_name, options.algorithm, options.set_name
    folder = models_folder(kind, group)
    found = records(folder, kind, part)
    if not found:
        raise SourceError(
            f"there are no statistics of the {part} rows in {folder}: scope-train --group {group} --algorithm {kind} "
            "writes them"
        )
    other = "xgb" if kind == "dnn" else "dnn"
    also = records(models_folder(other, group), other, part)
    stats = Path(options.stats_directory)
    targets = {name: stats / f"{group}_{kind}_{part}.{name}" for name in ("csv", "json")}
    targets["html"] = stats / f"{group}_{part}.html"
    with_importance = kind == "xgb" or "importance_directory" in call.given
    importance = Path(options.importance_directory) if with_importance else None
    if call.dry_run:
        call.say(f"would read {len(found)} records of {folder} and {len(also)} of {other}")
        where = f", and the importance of features into {importance}" if importance else ""
        call.say(f"would write {', '.join(map(str, targets.values()))}{where}")
        return
    _write(targets, found, also, group, part)
    call.say(f"{len({record.tag for record in found})} classes in {', '.join(map(str, targets.values()))}")
    if importance:
        written = _write_importance(importance, group, kind, found)
        call.say(f"importance of features in {written}")


def _write(targets: dict[str, Path], found: list[Record], also: list[Record], group: str, part: str) -> None:
    from scope_dask.formats.atomic import replacing
    from scope_dask.training.comparison import page, plain, statistics_table

    frame = statistics_table(found)
    texts = {
        "csv": frame.to_csv(index=False),
        "json": json.dumps(plain(frame), indent=1, allow_nan=False),
        "html": page(group, part, [*found, *also]),
    }
    for name, text in texts.items():
        with replacing(targets[name]) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _write_importance(folder: Path, group: str, kind: str, found: list[Record]) -> Path:
    """Write the importance of features by class, and the figure of each class; return the table."""
    from scope_dask.formats.atomic import replacing
    from scope_dask.training.comparison import importance_table, newest

    target = folder / f"{group}_{kind}.csv"
    with replacing(target) as temporary:
        temporary.write_text(importance_table(found).to_csv(), encoding="utf-8")
    for record in newest(found):
        if (png := record.figure("impvars")) is not None:
            with replacing(folder / f"{group}_{kind}_{record.tag}.png") as temporary:
                temporary.write_bytes(png)
    return target


COMMAND = Command(
    "assemble-training-stats",
    "Put the statistics of the models of a group side by side.",
    ARGUMENTS,
    run,
    on_worker=True,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
