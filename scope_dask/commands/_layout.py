"""Where the documented commands keep their files, and where they look for files given by name."""

from __future__ import annotations

from pathlib import Path

from scope_dask.errors import SourceError


def ids_folder(field: int, output_dir: str | Path | None = None) -> Path:
    """Return the folder of the ids of a field, ``[output_dir/]ids/field_<F>``."""
    return Path(output_dir or "") / "ids" / f"field_{field}"


def quadrant_ids(folder: Path, ccd: int, quad: int) -> Path:
    """Return the file of the ids of a quadrant in the folder of its field."""
    return folder / f"data_ccd_{ccd:02d}_quad_{quad}.h5"


def field_ids(folder: Path, field: int) -> Path:
    """Return the file of the ids of a whole field in the folder of the field."""
    return folder / f"field_{field}.h5"


def find_file(name: str | Path) -> Path:
    """Return a mapper or example file; a bare name is looked for here, in ``tools/`` and among the packaged ones.

    Raises
    ------
    SourceError
        If there is none.
    """
    from scope_dask.mapping import packaged_configs

    path = Path(name)
    bare = path.parent == Path()
    places = [path, *([Path("tools") / path, packaged_configs() / path] if bare else [])]
    if (found := next((place for place in places if place.is_file()), None)) is None:
        where = "the working folder, in tools/ or among the packaged files" if bare else str(path.parent)
        raise SourceError(f"there is no file {path.name} in {where}")
    return found
