"""Looking for secrets in everything that a command has left in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from scope_dask.formats import read_table

PACKED = (".parquet",)  # whose texts may be compressed


def files_with(folder: Path, secrets: Sequence[str], but: Sequence[str] = ("config.yaml",)) -> list[str]:
    """Return the files below a folder, hidden ones too, that hold one of the secrets."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in but]
    return [str(path.relative_to(folder)) for path in files if any(s in text for text in texts(path) for s in secrets)]


def texts(path: Path) -> Iterator[str]:
    """Yield what a file holds as text: its bytes, and the values and metadata of a table."""
    yield path.read_bytes().decode("latin-1")
    if path.suffix in PACKED:
        frame = read_table(path)
        yield frame.select_dtypes(exclude="number").to_csv()
        yield f"{list(frame.columns)} {frame.attrs}"
