"""Input files: what a path stands for, how a file is opened, and how a changed file is noticed."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from scope_dask.errors import SourceError

_SUFFIXES = (".parquet", ".parq", ".pq")
# Column chunks are read through buffers of this size, so that a chunk of gigabytes is never held whole.
_LOCAL_BUFFER, _REMOTE_BUFFER = 1 << 20, 8 << 20
_CHANGE_MARKS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """An input file.

    Attributes
    ----------
    path : str
        Absolute local path, or a URL.
    size : int or None
        Bytes, where a listing tells.
    fingerprint : str
        Changes when the file changes: its size with its entity tag or time of modification; empty where a
        server tells neither.
    named : bool
        Asked for by its own name, not found by a folder or a pattern.
    """

    path: str
    size: int | None
    fingerprint: str
    named: bool


def expand(path: Any) -> list[SourceFile]:
    """Return the Parquet files that a path, pattern, URL or list of them stands for, each once.

    Files of a folder (searched to its depths, names that begin with a dot or an underscore aside) and of a
    pattern are sorted by path; a list keeps its order.

    Raises
    ------
    SourceError
        If a path stands for no file, or its protocol needs a package that is not installed.
    """
    entries = path if isinstance(path, Iterable) and not isinstance(path, (str, os.PathLike)) else [path]
    found: dict[str, SourceFile] = {}
    for entry in entries:
        if not isinstance(entry, (str, os.PathLike)):
            raise SourceError(f"a path is {entry!r}, expected a string or a path")
        for file in _expand_one(os.fspath(entry)):
            found.setdefault(file.path, file)
    if not found:
        raise SourceError("no path was given to read from: name a file, a folder, a pattern or an address")
    return list(found.values())


def _expand_one(entry: str) -> list[SourceFile]:
    fs, bare = _filesystem(entry)
    try:
        if _is_pattern(fs, bare):
            infos = {p: i for p, i in fs.glob(bare, detail=True).items() if i.get("type") != "directory"}
            what = f"nothing matches {entry!r}: check the pattern"
        elif bare.endswith("/") or fs.info(bare)["type"] == "directory":
            infos = {p: i for p, i in fs.find(bare, detail=True).items() if _is_data(p, bare)}
            what = f"the folder {entry!r} holds no Parquet file ({', '.join(_SUFFIXES)}): check the path"
        else:
            return [_source_file(fs, bare, fs.info(bare), named=True)]
    except FileNotFoundError as error:
        raise SourceError(f"nothing matches {entry!r}: there is no such file or folder") from error
    except Exception as error:  # each file system raises errors of its own
        raise unreadable(entry, error) from error
    if not infos:
        raise SourceError(what)
    return [_source_file(fs, p, infos[p], named=False) for p in sorted(infos)]


def unreadable(path: str, error: Exception, what: str = "") -> SourceError:
    """Return the error that says that a path cannot be read; `what` such as " as a HATS catalogue"."""
    hint = "; a public bucket is read with FSSPEC_S3_ANON=true in the environment" if path.startswith("s3:") else ""
    return SourceError(f"{path} cannot be read{what}: {first_line(error)}{hint}")


def _filesystem(entry: str) -> tuple[Any, str]:
    try:
        return fsspec.core.url_to_fs(os.path.expanduser(entry))
    except ImportError as error:
        protocol = entry.partition("://")[0].replace("https", "http")
        raise SourceError(
            f"{entry!r} needs a package that is not installed ({error}): pip install 'fsspec[{protocol}]'"
        ) from error
    except ValueError as error:
        raise SourceError(f"{entry!r} is not an address that can be read: {error}") from error


def _is_pattern(fs: Any, bare: str) -> bool:
    if _is_local(fs):
        return any(c in bare for c in "*?[") and not os.path.exists(bare)
    return "*" in bare  # "?" and "[" are ordinary characters of a URL


def _is_local(fs: Any) -> bool:
    return isinstance(fs, LocalFileSystem)


def _is_data(path: str, folder: str) -> bool:
    inside = path[len(folder) :].strip("/").split("/") if path.startswith(folder) else [path.rsplit("/", 1)[-1]]
    return path.endswith(_SUFFIXES) and not any(part.startswith((".", "_")) for part in inside)


def _source_file(fs: Any, bare: str, info: dict[str, Any], named: bool) -> SourceFile:
    path = bare if _is_local(fs) else fs.unstrip_protocol(bare)
    return SourceFile(path, info.get("size"), _fingerprint(info), named)


def _fingerprint(info: dict[str, Any]) -> str:
    marks = [str(info[k]) for k in _CHANGE_MARKS if info.get(k) is not None]
    return f"{info.get('size')}-{marks[0]}" if marks else ""


@contextmanager
def opened(path: str, metadata: pq.FileMetaData | None = None) -> Iterator[pq.ParquetFile]:
    """Open a local path or URL as Parquet, to be read in streams; page checksums are verified."""
    options = {"metadata": metadata, "pre_buffer": False, "page_checksum_verification": True}
    fs, bare = _filesystem(path)
    if _is_local(fs):
        with pq.ParquetFile(bare, buffer_size=_LOCAL_BUFFER, **options) as parquet:
            yield parquet
        return
    # Columns are read in turns: a read-ahead cache would fetch each stretch several times over.
    with (
        fs.open(bare, "rb", cache_type="none") as stream,
        pq.ParquetFile(stream, buffer_size=_REMOTE_BUFFER, **options) as parquet,
    ):
        yield parquet


def read_metadata(path: str, size: int | None = None) -> pq.FileMetaData:
    """Return the footer of a Parquet file.

    Raises
    ------
    SourceError
        If the file is not Parquet or its footer is damaged.
    """
    try:
        with opened(path) as parquet:
            return parquet.metadata
    except (OSError, pa.ArrowException) as error:
        bytes_ = "" if size is None else f" ({size:,} bytes)"
        raise SourceError(
            f"{path}{bytes_} is not a readable Parquet file ({first_line(error)}): fetch it again or leave it out"
        ) from error


@functools.lru_cache(maxsize=8)
def cached_metadata(path: str, fingerprint: str) -> pq.FileMetaData:
    """Return the footer of a file that slices are read from, parsed once per worker.

    Raises
    ------
    SourceError
        If it cannot be read.
    """
    return read_metadata(path)


def check_unchanged(path: str, fingerprint: str) -> None:
    """Check that a local file is still the one with `fingerprint` (for a remote one: a request a slice).

    Raises
    ------
    SourceError
        If it is gone or has changed.
    """
    fs, bare = _filesystem(path)
    if not _is_local(fs):
        return
    try:
        now = _fingerprint(fs.info(bare))
    except FileNotFoundError as error:
        raise SourceError(f"{path} is gone since the table was set up: set it up again") from error
    if now != fingerprint:
        raise SourceError(f"{path} has changed since the table was set up: set it up again")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
