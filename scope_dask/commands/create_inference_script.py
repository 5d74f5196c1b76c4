"""``create-inference-script``: a script that scores a field with the newest models of a group."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from scope_dask.commands._parser import Call, Command, flag, option
from scope_dask.errors import OptionError

ARGUMENTS = (
    option("--filename", "name of the script", default="get_all_preds.sh"),
    option("--group-name", "group of the models, a folder in models_<algorithm>", default="experiment"),
    option("--algorithm", "kind of the models", default="dnn", choices=("dnn", "xgb")),
    option("--scale-features", "scaling where a model has no manifest", default="min_max"),
    option("--feature-directory", "folder of the features", default="features"),
    flag("--write-csv", "write the scores as CSV too"),
    option("--batch-size", "most rows that are scored at a time", int, 100_000),
    flag("--use-custom-python", "call the Python of --path-to-python, not the command run-inference"),
    option("--path-to-python", "Python with scope_dask", default="~/miniforge3/envs/scope-env/bin/python"),
    option(
        "--period-suffix",
        "period algorithm of the features; if not given, the one of config.yaml when the script runs",
    ),
)

_USAGE = """if [ $# -lt 1 ]; then
  echo "usage: $0 <field>, specific_ids or <label>_specific_ids, then options of run-inference" >&2
  exit 2
fi
"""


def run(call: Call) -> None:
    """Write the script, or tell what would be written."""
    path = Path(call.options.filename)
    if path.exists():
        raise OptionError(f"{path} is there already: move it away, or name another with --filename")
    text = script(call)
    if call.dry_run:
        call.say(f"would write {path}:\n{text}")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755), "w", encoding="utf-8") as file:
        file.write(text)
    call.say(f"{path}: call it with a field, specific_ids or <label>_specific_ids")


def script(call: Call) -> str:
    """Return the text of the script.

    Raises
    ------
    ModelError
        If the group has no models of the algorithm.
    """
    options = call.options
    models = newest(Path(f"models_{options.algorithm}") / options.group_name, options.algorithm)
    python = [os.path.expanduser(options.path_to_python), "-m", "scope_dask.commands.run_inference"]
    lines = [
        shlex.join(python if options.use_custom_python else ["run-inference"]),
        shlex.join(["--paths-models", *(str(path) for _, path in models)]),
        shlex.join(["--model-class-names", *(tag for tag, _ in models)]),
        '--field "$field" --whole-field --flag-ids',
        shlex.join(["--scale-features", options.scale_features, "--feature-directory", options.feature_directory]),
        shlex.join(["--batch-size", str(options.batch_size), *more(call)]),
        '"$@"',
    ]
    command = " \\\n  ".join(lines)
    return f'#!/usr/bin/env bash\n{_USAGE}field="$1"\nshift\nexec {command}\n'


def more(call: Call) -> list[str]:
    """Return the words for options that need not be given."""
    options = call.options
    words = ["--period-suffix", options.period_suffix] if options.period_suffix else []
    words += ["--write-csv"] if options.write_csv else []
    words += ["--xgb-model"] if options.algorithm == "xgb" else []
    return [*words, "--config-path", options.config_path] if options.config_path else words


def newest(folder: Path, algorithm: str) -> list[tuple[str, Path]]:
    """Return (class, newest model) of every class in a folder.

    Raises
    ------
    ModelError
        If there are none.
    """
    from scope_dask.errors import ModelError
    from scope_dask.inference.models import model_files

    kinds = {"xgb": (".json",), "dnn": (".h5", ".keras")}[algorithm]
    found = [(path.name.rsplit(".", 2)[0], path) for path in model_files(folder) if path.suffix in kinds]
    if not found:
        raise ModelError(f"{folder} has no models that end in {' or '.join(kinds)}: is --algorithm {algorithm} right?")
    return found


COMMAND = Command(
    "create-inference-script", "Write a script that scores a field with the models of a group.", ARGUMENTS, run
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
