"""Labelled feature tables with the columns of the packaged configuration, for tests of the training commands."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from clusters import two_workers
from distributed import Client, WorkerPlugin

from scope_dask.formats import write_table
from scope_dask.schema import DMDT
from scope_dask.training import figures
from scope_dask.user_config import packaged_defaults
from scope_dask.user_config.features import feature_names
from scope_dask.user_config.training import class_labels

SUFFIX = "ELS_ECE_EAOV"


def labelled_table(stars: int = 60, seed: int = 3, suffix: str = SUFFIX, dmdt: bool = False) -> pd.DataFrame:
    """Return two light curves of each star, with all features and labels; a third of the stars are of any class.

    ``skew`` and, in the histograms, the brightness tell members from others. ``obj_id`` is the star.
    """
    rng = np.random.default_rng(seed)
    names = feature_names(packaged_defaults(), "ontological", suffix) or ()
    rows = 2 * stars
    frame = pd.DataFrame(rng.normal(size=(rows, len(names))), columns=list(names))
    frame.insert(0, "ztf_id", 10_000_000_000_000_000 + rng.permutation(rows))
    frame["obj_id"] = [f"ZTFJ{k // 2:04d}" for k in range(rows)]
    for name, label in class_labels(packaged_defaults()).items():
        member = np.repeat(rng.random(stars) < 1 / 3, 2)
        frame[label] = member.astype(float)
        if name == "vnv":
            frame["skew"] += 2.5 * member
            frame["non-variable"] = 1.0 - member
            bright = member
    if dmdt:
        images = rng.random((rows, 676)).astype("f4") * np.where(bright, 0.6, 1.0)[:, None].astype("f4")
        frame["dmdt"] = pd.Series(list(images)).astype(DMDT.pandas_dtype)
    return frame


def write_labelled(path: Path, **more: object) -> Path:
    """Write `labelled_table` in the format of the file's name, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(labelled_table(**more), path, {"fourier": "raw"})  # type: ignore[arg-type]
    return path


class _NoFigures(WorkerPlugin):
    def setup(self, worker: Any) -> None:
        figures.can_draw = lambda: False


@contextlib.contextmanager
def two_training_workers() -> Iterator[Client]:
    """Yield the client of a cluster whose workers draw nothing: figures take longer than the models of these tests."""
    with two_workers() as client:
        client.register_plugin(_NoFigures())
        yield client
