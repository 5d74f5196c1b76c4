"""What the documented lines of the commands for Fritz find there, and the files that they name."""

from __future__ import annotations

import json
from pathlib import Path

import fritz_world
import numpy as np
import pandas as pd
from fritz_observations import ALL_ACLS, User
from fritz_server import TOKEN, FritzServer
from kowalski_documents import Document

from scope_dask.formats import write_table

ROWS = 40
DATEOBS = "2023-05-21T05:30:43"
GROUPS = (200, 300, 400, 500, 250, 750)


def sample(curves: pd.DataFrame) -> pd.DataFrame:
    """Return sources at the places of light curves, and some where there are none."""
    numbers = np.arange(ROWS)
    ra, dec = 30.0 + 0.1 * numbers, np.zeros(ROWS)
    ra[: len(curves)], dec[: len(curves)] = curves["ra"], curves["dec"]
    columns = {"obj_id": [f"ZTFJ{k:04d}+20" for k in numbers], "ra": ra, "dec": dec, "survey_id": 9000 + numbers}
    return pd.DataFrame({**columns, "period": 0.5 + numbers, "variable": 0.95, "flaring": np.linspace(0, 1, ROWS)})


def prepare(server: FritzServer, folder: Path, curves: pd.DataFrame) -> None:
    """Give Fritz groups, sources and an event, and the working folder the files."""
    for number in GROUPS:
        server.add_group(number, f"group {number}")
    server.state.users["sample_token"] = User(12, "sample", set(server.user.groups), ALL_ACLS)
    frame = sample(curves)
    write_table(frame, folder / "sample.csv")
    write_table(pd.DataFrame({"ztf_id": curves["_id"][:2]}), folder / "dataset.d15.csv")
    tree = fritz_world.PHENOMENOLOGICAL
    mapper = {name: {"fritz_label": name, "taxonomy_id": tree} for name in ("variable", "flaring")}
    (folder / "map.json").write_text(json.dumps(mapper))
    for row in frame.to_dict("records"):
        server.state.add_source(row["obj_id"], row["ra"], row["dec"], (360,))
        server.state.add_classification(server.user, row["obj_id"], "variable", tree, probability=0.9, group_ids=[360])
        point = {"instrument_id": 41, "origin": "alert", "mjd": 60085.5, "mag": 17.0, "magerr": 0.1, "filter": "ztfg"}
        server.state.photometry.append({"id": 1, "obj_id": row["obj_id"], **point})
    server.state.add_event(DATEOBS, 200.5, 20.0, 3.0, ("Fermi", "GRB"))


def scored(curves: pd.DataFrame) -> list[Document]:
    """Return documents of a catalogue of scores in which the algorithms do not agree on every third source."""
    third = np.arange(len(curves)) % 3 == 0
    pairs = zip(curves["_id"].tolist(), np.where(third, 0.05, 0.99).tolist(), strict=True)
    return [{"_id": number, "vnv_dnn": 0.99, "vnv_xgb": xgb} for number, xgb in pairs]


def section(server: FritzServer) -> dict[str, object]:
    """Return ``fritz:`` of a configuration that leads to the server."""
    where = {"token": TOKEN, "host": "127.0.0.1", "port": server.port, "protocol": "http"}
    return {**where, "rate": 2000, "burst": 2000, "max_attempts": 3, "sleep_time": 0.1}
