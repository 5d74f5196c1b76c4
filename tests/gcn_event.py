"""A GCN event for the tests of gcn_cronjob: its sources at the places of stars, models of both kinds, a mapper."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import generation_sky as sky
import yaml
from prediction_tables import feature_table, save_original_network, save_xgb_models

NAME = "gcn_cronjob"
QUICK = ["--max-freq", "1", "--samples-per-peak", "3", "--min-n-lc-points", "30", "--n-workers", "1"]
THRESHOLD = ["--p-threshold", "0.5"]
WHEN = (datetime.now(UTC) - timedelta(days=2)).replace(microsecond=0, tzinfo=None)
DATEOBS = WHEN.isoformat()
LABEL = DATEOBS.replace(":", "-")
CLASSES = {"vnv": ("variable", 1017), "rrlyr": ("RR Lyrae", 1015)}


def save_models(root: Path) -> Path:
    """Save small models of XGBoost, a network of SCoPe 0.9.5, and the training set that it is scaled by."""
    save_xgb_models(root / "models_xgb" / "small")
    save_original_network(root / "models_dnn" / "small")
    feature_table(200).to_parquet(root / "training.parquet")
    return root


def prepare(place: Any, models: Path, networks: bool = False) -> list[str]:
    """Prepare a working folder, the services and an event; return the names of its sources.

    Three sources at the places of stars are detected after the event, one elsewhere; another event has no tags, a third
    one is of last month.
    """
    state = place.fritz.state
    for group, name in ((1544, "GW"), (48, "GRB")):
        place.fritz.add_group(group, name)
    for label, number in CLASSES.values():
        tree = {"class": "top", "subclasses": [{"class": label}]}
        state.taxonomies[number]["hierarchy"] = tree
    curves = sky.light_curves()
    stars = curves[curves["filter"] == 1].iloc[[0, 2, 3]]
    names = [f"ZTF26aa{k}" for k in range(3)]
    for name, (ra, dec) in zip([*names, "away"], [*stars[["ra", "dec"]].to_numpy(), (10.0, 10.0)], strict=True):
        add(place, name, ra, dec)
    state.add_event(DATEOBS, 150.0, 20.0, 3.0, ("GW", "BNS"))
    state.add_event((WHEN + timedelta(hours=1)).isoformat(), 150.0, 20.0, 3.0, ("Neutrino",))
    state.add_event((WHEN - timedelta(days=30)).isoformat(), 150.0, 20.0, 3.0, ("GW",))
    other = sky.server()
    place.kowalski.collections.update(other.collections)
    other.close()
    for kind in ("models_xgb", "models_dnn") if networks else ("models_xgb",):
        shutil.copytree(models / kind, place.folder / kind)
    configure(place, models)
    write_mapper(place.folder)
    return names


def configure(place: Any, models: Path) -> None:
    """Name the catalogue of light curves and the training set in ``config.yaml``."""
    place.configure(training={"dataset": str(models / "training.parquet")})
    file = place.folder / "config.yaml"
    content = yaml.safe_load(file.read_text())
    content["kowalski"]["collections"] = {"sources": sky.SOURCES}
    file.write_text(yaml.safe_dump(content))


def write_mapper(folder: Path) -> None:
    """Write a mapper of the two classes of the models under the name of the packaged one."""
    entries = {key: {"fritz_label": label, "taxonomy_id": number} for key, (label, number) in CLASSES.items()}
    (folder / "fritz_mapper.json").write_text(json.dumps(entries))


def add(place: Any, name: str, ra: float, dec: float) -> None:
    """Save a source that is detected two hours after the event."""
    mjd = WHEN.replace(tzinfo=UTC).timestamp() / 86400.0 + 40587.0 + 0.1
    place.fritz.state.add_source(name, float(ra), float(dec), (360,))
    detection = {"instrument_id": 41, "origin": "alert", "mag": 18.0, "magerr": 0.1, "filter": "ztfg"}
    place.fritz.state.photometry.append({"id": 1, "obj_id": name, "mjd": mjd, **detection})


def writes(place: Any, start: int = 0) -> list[str]:
    """Return the requests that write, from the given one on."""
    return [f"{r.method} {r.path}" for r in place.fritz.requests[start:] if r.method not in ("GET", "HEAD")]


def posted(place: Any) -> list[tuple[str, str]]:
    """Return the classifications that Fritz has."""
    return [(one["obj_id"], one["classification"]) for one in place.fritz.state.classifications.values()]


def checkpoint(place: Any, name: str = "gcn_sources_checkpoint.json") -> dict[str, list[str]]:
    """Return the sources of a checkpoint."""
    return dict(json.loads((place.folder / name).read_text())["sources"])
