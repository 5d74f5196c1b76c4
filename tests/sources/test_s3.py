"""Archives, HATS catalogues and copies of catalogues on an S3 server, by the options that docs/sources.md names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import generation_sky as sky
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hats_files import hats_catalog, hats_collection
from hats_light_curves import CENTRE, SKY, by_id, light_curves, nest

from scope_dask.crossmatch import LocalCatalog, crossmatch
from scope_dask.errors import SourceError
from scope_dask.formats import read_table
from scope_dask.sources import read_archive
from scope_dask.sources.hats import read_hats

pytest.importorskip("s3fs", reason="the remote extra is not installed")
pytest.importorskip("hats", reason="the catalog extra is not installed")
moto = pytest.importorskip("moto.server", reason="the S3 server of the tests is not installed")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Yield the address of a server."""
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def bucket(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the address of an empty bucket, which is read without credentials."""
    import s3fs

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    conf: dict[str, dict[str, str]] = {}
    fsspec.config.set_conf_env(conf, {"FSSPEC_S3_ANON": "true", "FSSPEC_S3_ENDPOINT_URL": address})
    monkeypatch.setitem(fsspec.config.conf, "s3", conf["s3"])
    keys = s3fs.S3FileSystem(anon=False, key="test", secret="test", endpoint_url=address)
    keys.mkdir("ztf", acl="public-read")
    yield "s3://ztf"
    keys.rm("ztf", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


def upload(folder: Path, bucket: str, access: str = "public-read") -> None:
    """Put the files of a folder into a bucket; the server refuses those that are not public."""
    fsspec.filesystem("s3").put(f"{folder}/", f"{bucket}/", recursive=True, ACL=access)


@pytest.mark.parametrize("name", ["lc", "", "irsa", "irsa/*.parquet"], ids=["hats", "collection", "folder", "pattern"])
def test_the_same_light_curves_as_from_a_folder(tmp_path: Path, bucket: str, name: str) -> None:
    table = light_curves([4] * 120)
    hats_catalog(tmp_path / "lc", nest(table), (4, 5), SKY)
    hats_collection(tmp_path, "lc")
    (tmp_path / "irsa").mkdir()
    for k in range(2):
        pq.write_table(table.slice(60 * k, 60), tmp_path / "irsa" / f"{k}.parquet", row_group_size=40)
    upload(tmp_path, bucket)
    read = read_archive if "irsa" in name else read_hats
    for cone in (None, (*CENTRE, 3600.0)):
        there, here = (by_id(read(f"{root}/{name}".rstrip("/"), cone=cone)) for root in (bucket, tmp_path))
        pd.testing.assert_frame_equal(there, here)
        assert len(there) == 120 if cone is None else 0 < len(there) < 120


def test_a_copy_of_a_catalogue(tmp_path: Path, bucket: str) -> None:
    rng = np.random.default_rng(1)
    stars = pd.DataFrame({"_id": 2**60 + np.arange(50), "ra": rng.uniform(10, 11, 50), "dec": rng.uniform(0, 1, 50)})
    stars.assign(w1mpro=np.arange(50.0)).to_parquet(tmp_path / "allwise.parquet")
    upload(tmp_path, bucket)
    fields = {"AllWISE": ("_id", "w1mpro")}
    found = crossmatch(stars, {"AllWISE": LocalCatalog(f"{bucket}/allwise.parquet")}, fields=fields)
    assert found["AllWISE___id"].tolist() == stars["_id"].tolist()
    assert found["AllWISE__w1mpro"].tolist() == list(range(50))


def test_what_is_not_there_or_not_allowed_is_one_sentence(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    light_curves([4]).to_pandas().to_parquet(tmp_path / "mine.parquet")
    upload(tmp_path, bucket, "private")
    with pytest.raises(SourceError, match=r"mine.parquet cannot be read: Forbidden; a public bucket"):
        read_archive(f"{bucket}/mine.parquet")
    with pytest.raises(SourceError, match=f"nothing matches '{bucket}/none.parquet'"):
        read_archive(f"{bucket}/none.parquet")
    with pytest.raises(SourceError, match="cannot be read as a HATS catalogue"):
        read_hats(f"{bucket}/none")
    with pytest.raises(SourceError, match=r"nothing matches .s3://other/x\.parquet"):
        read_archive("s3://other/x.parquet")
    monkeypatch.delitem(fsspec.config.conf["s3"], "anon")
    for read in (read_archive, read_hats):
        with pytest.raises(SourceError, match="a public bucket is read with FSSPEC_S3_ANON=true"):
            read(f"{bucket}/x.parquet")


def test_a_command_reads_a_bucket_that_the_environment_describes(tmp_path: Path, address: str, bucket: str) -> None:
    (tmp_path / "data").mkdir()
    paths = sky.save(tmp_path / "data")
    upload(tmp_path / "data", bucket)
    words = ["--field", "301", "--ccd", "2", "--quad", "4", "--min-n-lc-points", "30", "--n-workers", "1"]
    words += ["--source-archive", f"{bucket}/archive", "--verbose", "0", "--catalog-path"]
    words += [f"{name}={bucket}/{path.name}" for name, path in paths.items() if name != "archive"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {"FSSPEC_S3_ANON": "true", "FSSPEC_S3_ENDPOINT_URL": address}
    command = [sys.executable, "-m", "scope_dask.commands.generate_features", *words]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=120)
    (file,) = tmp_path.rglob("field_301/*.parquet")
    table = read_table(file)
    assert len(table) == 12
    assert table["AllWISE___id"].notna().any()
