"""A small sky for the test Kowalski, and the means to ask it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from kowalski_documents import matchfile_id, place, source_documents
from kowalski_server import KowalskiServer
from pydantic import SecretStr

from scope_dask import ragged
from scope_dask.schema import RAW_LIGHTCURVES
from scope_dask.sources.kowalski import Instance, Kowalski, KowalskiOptions, disconnect

TOKEN = "correct-horse"
SOURCES, FEATURES = "ZTF_sources_20240117", "ZTF_source_features_DR16"
QUADRANTS = {(296, 1, 1): 25, (296, 1, 2): 7, (296, 16, 4): 3, (487, 1, 1): 4}
LARGE = 2**53 + 1  # the first integer that a float does not hold


def lightcurve_frame(seed: int = 0) -> pd.DataFrame:
    """Return the light curves of a few quadrants, and two with ids beyond 2**53, in the order of the ids."""
    keys = [
        (matchfile_id(f, c, q, 1 + k % 2, k), f, c, q, 1 + k % 2)
        for (f, c, q), n in QUADRANTS.items()
        for k in range(n)
    ]
    keys += [(LARGE, 900, 2, 3, 3), (LARGE + 2, 900, 2, 3, 3)]
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(sorted(keys), columns=["_id", "field", "ccd", "quad", "filter"])
    frame["ra"] = (359.9 + 0.01 * np.arange(len(frame))) % 360.0
    frame["dec"] = 30.0 + rng.uniform(-0.001, 0.001, len(frame))
    sizes = rng.integers(1, 40, len(frame))
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    points = int(offsets[-1])
    frame["hjd"] = ragged.join(np.round(rng.uniform(2458200, 2459900, points), 5), offsets)
    frame["mag"] = ragged.join(np.round(rng.uniform(14, 20, points), 5), offsets)
    frame["magerr"] = ragged.join(np.round(rng.uniform(0.01, 0.1, points), 5), offsets)
    frame["catflags"] = ragged.join(rng.choice([0, 0, 32768], points).astype(np.int32), offsets)
    return frame[RAW_LIGHTCURVES.names]


def features() -> list[dict[str, Any]]:
    """Return documents of a catalogue of features."""
    made = []
    for number in range(5):
        document: dict[str, Any] = {"_id": matchfile_id(296, 1, 1, 1, number), "n": 10 * number, "period": 0.5 + number}
        document |= {"field": 296, "ccd": 1, "quad": 1, **place(10.0 + number, 20.0)}
        document |= {"f1_relamp1": float("nan") if number == 1 else 0.25, "AllWISE__w1mpro": None}
        document |= {"AllWISE___id": None if number == 2 else LARGE + 2 * number, "Gaia_EDR3___id": str(LARGE)}
        made.append(document | {"dmdt": None if number == 3 else [[0.0] * 26] * 26, "AllWISE__ph_qual": "AAUU"})
    return made


def server_of(frame: pd.DataFrame, **arguments: Any) -> KowalskiServer:
    """Return a server that has these light curves, and features."""
    return KowalskiServer({SOURCES: source_documents(frame), FEATURES: features()}, **arguments)


def instance(server: KowalskiServer, name: str = "kowalski", host: str = "127.0.0.1", **login: Any) -> Instance:
    """Return the instance that a server is, with the right token unless told otherwise."""
    login = login or {"token": SecretStr(TOKEN)}
    return Instance(name, host, server.port, "http", **login)


def access(*servers: KowalskiServer | Instance, **options: Any) -> Kowalski:
    """Return the access to servers: few attempts, short pauses."""
    names = ("kowalski", "gloria", "melman")
    instances = tuple(
        instance(server, name) if isinstance(server, KowalskiServer) else server
        for server, name in zip(servers, names, strict=False)
    )
    return Kowalski(KowalskiOptions(instances, **{"timeout": 5.0, "attempts": 3, "backoff": 0.01, **options}))


def write_config(folder: Path, server: KowalskiServer, **more: Any) -> None:
    """Write a ``config.yaml`` that names the server; the pauses between attempts are those of the library."""
    host = {"token": TOKEN, "host": "127.0.0.1", "port": server.port, "protocol": "http"}
    kowalski = {"hosts": {"kowalski": host}, "timeout": 60, **more.pop("kowalski", {})}
    (folder / "config.yaml").write_text(yaml.safe_dump({"kowalski": kowalski, **more}))


@contextlib.contextmanager
def running(frame: pd.DataFrame | None = None, **arguments: Any) -> Iterator[KowalskiServer]:
    """Yield a running server; end it and the sessions of this process afterwards."""
    server = server_of(lightcurve_frame() if frame is None else frame, **arguments)
    try:
        yield server
    finally:
        disconnect()
        server.close()
