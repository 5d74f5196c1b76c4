"""Lists of light-curve ids in HDF5: one int64 dataset a file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from scope_dask.errors import SourceError
from scope_dask.formats.atomic import replacing


def read_ids(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the ids of an HDF5 file (its first dataset) as int64, in their order.

    Raises
    ------
    SourceError
        If it cannot be read, has no dataset, or holds no integers.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise SourceError(f"there is no file of ids {path}: download the ids first (get-quad-ids)")
    try:
        with h5py.File(path, "r") as file:
            name = next((key for key in file if isinstance(file[key], h5py.Dataset)), None)
            values = None if name is None else file[name][()]
    except OSError as error:
        raise SourceError(f"{path} cannot be read as HDF5: {error}") from error
    if values is None:
        raise SourceError(f"{path} has no dataset; expected one of ids")
    ids = np.asarray(values).ravel()
    if ids.dtype.kind == "f" and np.all(np.abs(ids) < 2**53) and np.all(ids == np.floor(ids)):
        return ids.astype(np.int64)
    if ids.dtype.kind not in "iu":
        raise SourceError(f"{path}: {name} is {ids.dtype}, expected int64 ids (download them again with get-quad-ids)")
    return ids.astype(np.int64)


def write_ids(ids: np.ndarray, path: str | os.PathLike[str], dataset: str) -> None:
    """Write ids as the int64 dataset `dataset` of an HDF5 file, which is there whole or not at all."""
    import h5py

    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset(dataset, data=np.asarray(ids, dtype=np.int64))
