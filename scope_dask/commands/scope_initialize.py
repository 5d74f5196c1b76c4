"""``scope-initialize``: a working folder with the configuration, the mappers and the examples."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from scope_dask.commands._parser import Call, Command

FOLDER = Path("scope")
TOOLS = (
    "local_scope_ztfid.csv",
    "local_scope_radec.csv",
    "golden_dataset_mapper.json",
    "fritz_mapper.json",
    "DNN_AL_mapper.json",
    "XGB_AL_mapper.json",
)
SCRIPTS = ("gcn_cronjob", "scope_upload_disagreements")
_LONGEST_SHEBANG = 127  # bytes that every Linux kernel reads


def script(module: str) -> str:
    """Return a script of two lines that calls an installed command with the interpreter that is running now.

    The worker processes of a local cluster import the script once more, and must not run the command.
    """
    interpreter = sys.executable
    if " " in interpreter or len(os.fsencode(interpreter)) > _LONGEST_SHEBANG - 2:
        interpreter = "/usr/bin/env python3"
    call = f"import sys; from scope_dask.commands.{module} import main; sys.exit(main())"
    return f"#!{interpreter}\nif __name__ == '__main__': {call}\n"


def contents() -> Iterator[tuple[Path, Path | str, int]]:
    """Yield the files of a working folder: path in it, packaged file or text, and permissions."""
    from scope_dask.mapping import packaged_configs
    from scope_dask.user_config import DEFAULTS, NAME

    packaged = packaged_configs()
    yield Path(NAME), packaged / DEFAULTS, 0o600  # it will hold tokens
    yield Path(DEFAULTS), packaged / DEFAULTS, 0o644
    for name in TOOLS:
        yield Path("tools") / name, packaged / name, 0o644
    for module in SCRIPTS:
        yield Path(f"{module}.py"), script(module), 0o755


def initialize(folder: Path, dry_run: bool = False) -> tuple[list[Path], list[Path]]:
    """Make the files of a working folder that are not there yet.

    Parameters
    ----------
    folder : Path
    dry_run : bool
        Make nothing.

    Returns
    -------
    list of Path, list of Path
        Files that were made (or would be), and files that were there and are as they were.
    """
    made: list[Path] = []
    kept: list[Path] = []
    for name, content, mode in contents():
        path = folder / name
        if path.exists():
            kept.append(path)
            continue
        made.append(path)
        if dry_run:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            if isinstance(content, str):
                file.write(content.encode())
            else:
                with content.open("rb") as source:
                    shutil.copyfileobj(source, file)
    return made, kept


def run(call: Call) -> None:
    """Make the working folder ``scope/``."""
    made, kept = initialize(FOLDER, call.dry_run)
    for path in kept:
        call.say(f"kept {path}")
    for path in made:
        call.say(f"{'would make' if call.dry_run else 'made'} {path}")
    call.say(f"put your tokens into {FOLDER / 'config.yaml'} and work in {FOLDER}/")


COMMAND = Command("scope-initialize", "Make the working folder scope/; what is there is kept.", (), run)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
