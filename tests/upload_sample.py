"""Six sources to be uploaded to the test Fritz, whose light curves the test Kowalski has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fritz_server import FritzServer
from fritz_world import ONTOLOGICAL, PHENOMENOLOGICAL
from kowalski_documents import source_documents
from kowalski_sky import SOURCES

from scope_dask import ragged
from scope_dask.formats import write_table
from scope_dask.schema import RAW_LIGHTCURVES
from scope_dask.sources.lists import position_name

NAME = "scope_upload_classification"
MAPPER = {
    "vnv": ("variable", PHENOMENOLOGICAL),
    "fla": ("flaring", PHENOMENOLOGICAL),
    "rrlyr": ("RR Lyrae", ONTOLOGICAL),
    "nice": ("None", -1),
}
BASE = ["--file", "sample.csv", "--group-ids", "360", "361", "--taxonomy-map", "map.json", "--skip-phot"]


def curves(count: int) -> list[dict[str, Any]]:
    """Light curves of two filters at each position, 30 points, one of them flagged."""
    rng = np.random.default_rng(5)
    keys = [(1000 * k + band, 301, 1, 1, band, 30.0 + k, 10.0) for k in range(count) for band in (1, 2)]
    frame = pd.DataFrame(keys, columns=["_id", "field", "ccd", "quad", "filter", "ra", "dec"])
    offsets = np.arange(len(frame) + 1) * 30
    points = int(offsets[-1])
    frame["hjd"] = ragged.join(np.sort(rng.uniform(2458200, 2458900, points)), offsets)
    frame["mag"] = ragged.join(np.round(rng.uniform(15, 16, points), 3), offsets)
    frame["magerr"] = ragged.join(np.full(points, 0.02), offsets)
    flags = np.zeros(points, np.int32)
    flags[::30] = 32768
    frame["catflags"] = ragged.join(flags, offsets)
    return source_documents(frame[RAW_LIGHTCURVES.names])


def write_sample(place: Any) -> pd.DataFrame:
    """Write a mapper and a table of six sources, whose light curves Kowalski gets; return the table."""
    mapper = {key: {"fritz_label": label, "taxonomy_id": tree} for key, (label, tree) in MAPPER.items()}
    Path("map.json").write_text(json.dumps(mapper))
    place.kowalski.collections[SOURCES] = curves(6)
    numbers = np.arange(6)
    frame = pd.DataFrame({"ra": 30.0 + numbers, "dec": 10.0, "period": 0.25 + numbers, "survey_id": 10**17 + numbers})
    frame["obj_id"] = [f"mine_{k}" for k in numbers]
    frame["vnv"] = [0.95, 0.9, 0.2, 0.0, 1.0, 0.7]
    frame["fla"] = [0.1, 0.92, 0.99, 0.0, 0.3, 0.8]
    frame["rrlyr"] = 0.5
    write_table(frame, "sample.csv")
    return frame


def posted(server: FritzServer) -> list[tuple[str, str, float]]:
    found = server.state.classifications.values()
    return sorted((one["obj_id"], one["classification"], one["probability"]) for one in found)


def names(frame: pd.DataFrame) -> list[str]:
    return [position_name(ra, dec) for ra, dec in zip(frame["ra"], frame["dec"], strict=True)]
