"""Light curves of HATS catalogues: what is read against the table itself, and what is not even opened."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hats_files import hats_catalog, hats_collection, hats_index
from hats_light_curves import CENTRE, LISTS, SKY, by_id, light_curves, nest

from scope_dask import ragged
from scope_dask.errors import OptionError, SourceError
from scope_dask.sources import read_archive, slices_of
from scope_dask.sources.hats import read_hats

pytest.importorskip("hats", reason="the catalog extra is not installed")


@pytest.fixture
def archive(tmp_path: Path) -> Any:
    """Read the same light curves as an IRSA file, which has other tests against plain Python."""

    def read(table: pa.Table, **options: Any) -> pd.DataFrame:
        path = tmp_path / "archive" / "x.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table, path)
        return by_id(read_archive(path, **options))

    return read


@pytest.mark.parametrize("structs", [False, True], ids=["struct of lists", "list of structs"])
@pytest.mark.parametrize("lists", [pa.list_, pa.large_list], ids=["list", "large_list"])
def test_nested_points_become_parallel_lists(tmp_path: Path, archive: Any, structs: bool, lists: Any) -> None:
    table = light_curves([3, 0, 40, 1, 7] * 30, lists=pa.list_ if structs else lists)
    root = hats_catalog(tmp_path / "lc", nest(table, structs=structs), (3, 4, 5), SKY, row_group_size=11)
    frame = read_hats(str(root))
    found = by_id(frame)
    pd.testing.assert_frame_equal(found, archive(table))
    assert dict(found.dtypes) == dict(frame.dtypes)
    assert slices_of(frame).rows.sum() == len(table)


@pytest.mark.parametrize("name", ["hjd", "catflags", "_id"])
def test_one_column_alone(tmp_path: Path, archive: Any, name: str) -> None:
    table = light_curves([5, 2] * 20)
    root = hats_catalog(tmp_path / "lc", nest(table), (4,), SKY)
    found = read_hats(str(root))[["_id", name] if name != "_id" else ["_id"]]
    pd.testing.assert_frame_equal(by_id(found), archive(table)[list(found.columns)])


def test_a_pixel_larger_than_the_budget_is_cut_inside_its_row_group(tmp_path: Path, archive: Any) -> None:
    table = light_curves([100] * 400, width=0.1)
    root = hats_catalog(tmp_path / "lc", nest(table), (1,), SKY)
    files = list((root / "dataset").rglob("Npix*"))
    assert len(files) == 1
    assert pq.ParquetFile(files[0]).num_row_groups == 1
    bound = 50_000
    frame = read_hats(str(root), partition_bytes=bound)
    assert frame.npartitions > 15
    for k in range(frame.npartitions):
        part = frame.partitions[k].compute()
        points = sum(len(ragged.split(part[c])[0]) for c in ("hjd", "mag", "magerr", "catflags"))
        assert 0 < points * 4 < bound
    pd.testing.assert_frame_equal(by_id(frame), archive(table))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell the peak of memory")
def test_memory_of_a_slice_of_a_pixel_in_one_row_group(tmp_path: Path) -> None:
    rows, points = 8000, 1000
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * points)
    types = {"hmjd": np.float64, "mag": np.float32, "magerr": np.float32, "clrcoeff": np.float32, "catflags": np.int32}
    lists = [pa.ListArray.from_arrays(offsets, pa.array(np.arange(rows * points, dtype=t))) for t in types.values()]
    table = light_curves([1] * rows, width=0.1).drop_columns(LISTS)
    table = table.append_column("lightcurve", pa.StructArray.from_arrays(lists, names=list(types)))
    plain = {"compression": None, "use_dictionary": False, "write_statistics": False, "row_group_size": rows}
    root = hats_catalog(tmp_path / "lc", table, (1,), SKY, **plain)
    program = """
        import re, sys
        from pathlib import Path
        from scope_dask.sources.hats import read_hats
        frame = read_hats(sys.argv[1], partition_bytes="10 MiB")
        peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10
        before = peak()
        rows = len(frame.partitions[frame.npartitions // 2].compute(scheduler="synchronous"))
        print(frame.npartitions, rows, peak() - before, frame.expr._name)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(root)]
    told = [
        subprocess.check_output(command, text=True, env={**os.environ, "PYTHONHASHSEED": seed}).split()
        for seed in ("1", "2")
    ]
    count, found, grown = map(int, told[0][:3])
    assert count == 16
    assert found == 500
    assert grown < 100  # MiB, of the pixel's 190: the slice, its pieces, page buffers, first use of dask
    assert told[0][3] == told[1][3], "the table has the same name in every process: runs can be resumed"


def blank_all_but(root: Path, keep: int) -> list[Path]:
    """Overwrite whole pixel files, but the `keep` that hold the most rows; return these."""
    files = sorted((root / "dataset").rglob("Npix*"), key=lambda f: -pq.ParquetFile(f).metadata.num_rows)
    for file in files[keep:]:
        file.write_bytes(b"not Parquet")
    assert len(files) > keep
    return files[:keep]


@pytest.mark.parametrize("kind", ["cone", "near"])
def test_positions_open_only_the_pixels_around_them(tmp_path: Path, archive: Any, kind: str) -> None:
    table = light_curves([4] * 3000)
    root = hats_catalog(tmp_path / "lc", nest(table), (5, 6), SKY)
    kept = blank_all_but(root, 1)
    rows = pq.read_table(kept[0], partitioning=None)
    ra, dec = (rows[name].to_numpy() for name in SKY)
    centre = np.argmin(np.hypot(ra - ra.mean(), dec - dec.mean()))
    some = slice(centre, centre + 1)
    asked: dict[str, Any] = {"cone": (ra[centre], dec[centre], 20.0), "near": (ra[some], dec[some], 20.0)}
    found = by_id(read_hats(str(root), **{kind: asked[kind]}))
    pd.testing.assert_frame_equal(found, archive(table, cone=asked["cone"]))
    assert len(found) >= 1
    with pytest.raises(SourceError, match=r"Npix=\d+\.parquet .*is not a readable Parquet file"):
        read_hats(str(root))


def test_nothing_near_gives_a_table_without_rows(tmp_path: Path) -> None:
    root = hats_catalog(tmp_path / "lc", nest(light_curves([4] * 10)), (5,), SKY)
    frame = read_hats(str(root), cone=(10.0, -60.0, 5.0))
    assert frame.npartitions == 1
    assert len(frame.compute()) == 0


def test_ids_with_the_index_of_a_collection_open_only_their_pixels(tmp_path: Path, archive: Any) -> None:
    orders = (5, 6)
    table = light_curves([4] * 600, first_id=2**53 + 1)
    root = hats_catalog(tmp_path / "main", nest(table), orders, SKY)
    hats_catalog(tmp_path / "margin", nest(table), orders, SKY)
    hats_index(tmp_path / "ids", table, "objectid", orders, SKY)
    hats_collection(tmp_path, "main", "margin", ("objectid", "ids"))
    rows = pq.read_table(blank_all_but(root, 2)[1], partitioning=None)["objectid"].to_numpy()
    pd.testing.assert_frame_equal(by_id(read_hats(str(tmp_path), ids=rows[:3])), archive(table, ids=rows[:3]))
    assert len(read_hats(str(tmp_path), ids=[]).compute()) == 0
    assert len(read_hats(str(tmp_path), ids=[12]).compute()) == 0


def test_ids_and_quadrants_without_an_index(tmp_path: Path, archive: Any) -> None:
    table = pa.concat_tables([light_curves([4] * 50, rc=rc, first_id=1000 * rc) for rc in (5, 6)])
    root = hats_catalog(tmp_path / "lc", nest(table), (4,), SKY)
    for asked in ({"ids": [5001, 6002]}, {"quad": 3}, {"field": 299}, {"ccd": 2, "quad": [2, 3]}):
        pd.testing.assert_frame_equal(by_id(read_hats(str(root), **asked)), archive(table, **asked))


def test_columns_of_another_survey(tmp_path: Path) -> None:
    table = nest(light_curves([6] * 20), name="points").rename_columns({"objectid": "star", "objra": "ra"})
    table = table.drop_columns(["fieldid", "rcid", "filterid"])
    root = hats_catalog(tmp_path / "lc", table, (4,), ("ra", "objdec"))
    columns = {"_id": "star", "field": 0, "ccd": 1, "quad": 1, "filter": 2, "catflags": None}
    columns |= {"hjd": "points.hmjd", "mag": "points.mag", "magerr": "points.magerr"}
    found = by_id(read_hats(str(root), columns=columns, time_offset=2400000.0))
    rows = {row["star"]: row for row in table.to_pylist()}
    for row in found.to_dict("records"):
        stored = rows[row["_id"]]
        assert (row["ra"], row["dec"]) == (stored["ra"], stored["objdec"])
        assert (row["field"], row["ccd"], row["quad"], row["filter"]) == (0, 1, 1, 2)
        np.testing.assert_array_equal(row["hjd"], np.array(stored["points"]["hmjd"]) + 2400000.0)
        assert list(row["mag"]) == stored["points"]["mag"]
        assert list(row["catflags"]) == [0] * 6
    assert len(read_hats(str(root), columns=columns, field=1).compute()) == 0
    assert len(read_hats(str(root), columns=columns, quad=1).compute()) == 20
    with pytest.raises(SourceError, match=r"lacks the columns objectid, .*: name the columns with columns="):
        read_hats(str(root))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": "star"}, r"columns has 'id' \(did you mean '_id'\?\); there are _id, ra, "),
        ({"_id": 3}, "columns has 3 for '_id', expected the name of a stored column"),
        ({"mag": None}, "columns has None for 'mag', expected the name"),
        ({"filter": True}, "columns has True for 'filter', expected the name"),
    ],
)
def test_wrong_columns_are_named(tmp_path: Path, columns: Any, message: str) -> None:
    root = hats_catalog(tmp_path / "lc", nest(light_curves([4] * 3)), (4,), SKY)
    with pytest.raises(OptionError, match=message):
        read_hats(str(root), columns=columns)


def test_without_the_extra_one_sentence_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hats", None)
    with pytest.raises(SourceError, match=r"is a HATS catalogue: pip install 'scope_dask\[catalog\]' to read it$"):
        read_hats(str(tmp_path))


def test_a_folder_that_is_no_catalogue(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read as a HATS catalogue: "):
        read_hats(str(tmp_path))


class _Ranges(SimpleHTTPRequestHandler):
    """Serves a folder, by ranges where asked, without listings; notes what was asked for."""

    asked: list[str]

    def list_directory(self, path: Any) -> None:
        self.send_error(403, "no listings here")

    def do_GET(self) -> None:
        self.asked.append(self.path)
        wanted = self.headers.get("Range")
        file = Path(self.translate_path(self.path))
        if wanted is None or not file.is_file():
            super().do_GET()
            return
        data = file.read_bytes()
        low, high = wanted.removeprefix("bytes=").split("-")
        body = data[int(low) : int(high or len(data)) + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {low}-{int(low) + len(body) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    pytest.importorskip("aiohttp", reason="fsspec needs aiohttp for http addresses")
    asked: list[str] = []
    handler = functools.partial(type("Handler", (_Ranges,), {"asked": asked}), directory=str(tmp_path))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("collection", [False, True])
def test_over_http_without_listings(tmp_path: Path, archive: Any, server: Any, collection: bool) -> None:
    address, asked = server
    table = light_curves([4] * 800, width=3.0)
    hats_catalog(tmp_path / "lc", nest(table), (4, 5), SKY)
    hats_collection(tmp_path, "lc")
    cone = (*CENTRE, 600.0)
    found = by_id(read_hats(address if collection else f"{address}/lc", cone=cone))
    pd.testing.assert_frame_equal(found, archive(table, cone=cone))
    opened = {path for path in asked if "Npix" in path}
    assert 0 < len(opened) < len(list((tmp_path / "lc" / "dataset").rglob("Npix*")))


def test_pixels_that_are_folders_of_files(tmp_path: Path, archive: Any) -> None:
    table = light_curves([4] * 60)
    root = hats_catalog(tmp_path / "lc", nest(table), (4, 5), SKY)
    for file in list((root / "dataset").rglob("Npix*")):
        rows = pq.read_table(file, partitioning=None)
        file.unlink()
        file.with_suffix("").mkdir()
        half = len(rows) // 2
        pq.write_table(rows.slice(0, half), file.with_suffix("") / "0.parquet")
        pq.write_table(rows.slice(half), file.with_suffix("") / "1.parquet")
    for name in ("hats.properties", "properties"):
        with (root / name).open("a") as properties:
            properties.write("hats_npix_suffix=/\n")
    pd.testing.assert_frame_equal(by_id(read_hats(str(root))), archive(table))
