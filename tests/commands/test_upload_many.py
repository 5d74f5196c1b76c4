"""Many sources through scope-upload-classification, to a Fritz that often fails: each classification is there once."""

from __future__ import annotations

import time
from pathlib import Path

import fritz_world
import numpy as np
import pandas as pd
from fritz_server import PASSING
from kowalski_sky import SOURCES
from upload_sample import NAME, posted, write_sample

from scope_dask.formats import read_table, write_table

RATE, BURST = 500, 10


def test_a_thousand_sources_with_one_call_in_twenty_failing(place) -> None:
    write_sample(place)
    place.kowalski.collections[SOURCES] = []
    place.configure(fritz={**place.fritz_section(), "rate": RATE, "burst": BURST, "max_attempts": 10})
    rng = np.random.default_rng(7)
    ids = [f"ZTFJ{k:04d}+{k % 7}" for k in range(1000)]
    frame = pd.DataFrame({"obj_id": ids, "ra": 0.3 * np.arange(1000), "dec": rng.uniform(-30, 80, 1000)})
    frame["vnv"], frame["fla"] = rng.uniform(0.001, 1, (2, 1000)).round(4)
    frame.loc[::2, "fla"] = 0.0
    write_table(frame, "many.csv")
    place.fritz.fail_often(0.05, *PASSING)
    start = time.monotonic()
    words = ["--group-ids", 360, "--taxonomy-map", "map.json", "--classification", "read", "--skip-phot"]
    said = place.run_process(NAME, "--file", "many.csv", *words, "--use-existing-obj-id")
    assert len(place.fritz.requests) <= RATE * (time.monotonic() - start) + BURST
    place.fritz.forget_faults()
    expected = [(one, "variable", p) for one, p in zip(ids, frame["vnv"], strict=True)]
    expected += [(one, "flaring", p) for one, p in zip(ids, frame["fla"], strict=True) if p > 0]
    assert sorted(expected) == read_back(place) == posted(place.fritz)
    assert {tuple(one["saved"]) for one in place.fritz.state.sources.values()} == {(360,)}
    assert "classifications: 1500 posted" in said
    result = read_table("fritzUpload/many_fritzUpload_classifications.parquet")
    assert set(result["status"]) == {"posted"}
    assert sorted(result["classification_id"]) == sorted(place.fritz.state.classifications)
    assert [path.name for path in Path("fritzUpload").iterdir()] == ["many_fritzUpload_classifications.parquet"]


def read_back(place) -> list[tuple[str, str, float]]:
    """Return the classifications that Fritz gives to a client."""
    query = {"group_ids": [360], "sortBy": "id", "sortOrder": "asc"}
    with fritz_world.access(place.fritz) as fritz:
        found = [one for page in fritz.pages("/api/sources", "sources", query) for one in page]
    return sorted((one["id"], c["classification"], c["probability"]) for one in found for c in one["classifications"])
