"""generate-features, as a command line: from Kowalski and from files, by quadrant, by job and by ids."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import generation_sky as sky
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from kowalski_sky import TOKEN

from scope_dask.commands.generate_features import main
from scope_dask.formats import read_table, write_table

FILE = Path("generated_features/field_301/gen_features_field_301_ccd_2_quad_4.parquet")
HERE = ["--field", "301", "--ccd", "2", "--quad", "4", "--min-n-lc-points", "30", "--verbose", "0"]
QUICK = [*HERE, "--doCPU", "--max-freq", "1", "--period-algorithms", "ELS_ECE_EAOV"]
IDS = sky.light_curves()["_id"].to_numpy()


def local(paths: dict[str, Path]) -> list[str]:
    named = [f"{name}={path}" for name, path in paths.items() if name != "archive"]
    return ["--source-archive", str(paths["archive"]), "--catalog-path", *named]


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and ".lock" not in p.name)


def test_kowalski_and_files_make_the_same_file(sky_server, sky_paths, cluster, tmp_path) -> None:
    words = [*QUICK, "--doRemoveTerrestrial", *cluster]
    assert main(words) == 0
    assert files(tmp_path) == ["config.yaml", str(FILE), "generated_features/meta.json"]
    assert main([*words, *local(sky_paths), "--dirname", "local"]) == 0
    there, here = (sky.sorted_features(read_table(Path(name, *FILE.parts[1:]))) for name in (FILE.parts[0], "local"))
    pd.testing.assert_frame_equal(there, here)
    assert len(there) > 5
    stated = json.loads(pq.read_schema(FILE).metadata[b"scope"])
    assert (stated["ZTF_source_catalog"], stated["Gaia_catalog"]) == (sky.SOURCES, "Gaia_EDR3")
    assert stated["periods"]["remove_terrestrial"] is True
    sky_server.queries.clear()
    assert main([*words, *local(sky_paths), "--dirname", "again"]) == 0
    assert sky_server.queries == []


def test_a_dry_run_asks_nothing_and_writes_nothing(sky_server, sky_paths, tmp_path, capsys) -> None:
    assert main(["--dry-run", *QUICK, "--verbose", "1"]) == 0
    shown = capsys.readouterr().out
    assert f"would ask <Kowalski: kowalski at http://127.0.0.1:{sky_server.port}> for field 301, CCD 2, quad" in shown
    assert f"would write {FILE}" in shown
    assert main(["--dry-run", *QUICK, *local(sky_paths), "--verbose", "1"]) == 0
    assert "would write 131 columns: _id radec_geojson ra dec" in capsys.readouterr().out
    assert sky_server.queries == []
    assert files(tmp_path) == ["config.yaml"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--doCPU", "--doGPU"], 2, "--doCPU and --doGPU are both given: one of them decides"),
        (["--doGPU"], 1, "there is no CUDA device here: compute on the CPU with --doCPU, or name a cluster"),
        (
            ["--doCPU", "--period-algorithms", "AOV_cython"],
            2,
            "'AOV_cython'; there are LS CE AOV LS_CE_AOV (CPU), ELS ECE EAOV ELS_ECE_EAOV (GPU)",
        ),
        (["--ccd", "17"], 2, "--ccd is 17, expected 1 to 16"),
        (["--limit", "0"], 2, "--query-size-limit is 0, expected 1 or more"),
        (["--n-workers", "0"], 2, "--n-workers is 0, expected 1 or more"),
        (["--doSpecificIDs"], 2, "--doSpecificIDs needs a file with ztf_id: give --fg-dataset"),
        (["--doSpecificIDs", "--doQuadrantFile"], 2, "one of them decides"),
        (["--doQuadrantFile"], 2, "the quadrant file generated_features/slurm/slurm.dat cannot be read"),
        (["--catalog-path", "Gaia_EDR3"], 2, "--catalog-path takes NAME=PATH, such as Gaia_EDR3=catalogs/gaia"),
        (["--catalog-path", "Gaia_EDR=x"], 2, "--catalog-path names 'Gaia_EDR' (did you mean 'Gaia_EDR3'?)"),
        (["--source-catalog", "ZTF_sources"], 1, "it has no catalogue ZTF_sources (did you mean 'ZTF_sources_2023"),
        (["--alerts-catalog", "ZTF_alert"], 1, "Kowalski has no catalogue ZTF_alert; it has "),
        (["--doCpu"], 2, "there is no option --doCpu (did you mean --doCPU"),
    ],
)
def test_what_is_wrong_is_one_sentence(sky_server, capsys, words, code, said) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*HERE, *words])
    assert ended.value.code == code
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1
    assert not Path("generated_features").exists()


def test_without_a_device_the_periods_are_ones(sky_server, cluster) -> None:
    assert main([*HERE, *cluster]) == 0
    assert (read_table(FILE)["period_Ones"] == 1.0).all()


def test_columns_of_the_nested_searches_and_what_made_them(sky_server, cluster) -> None:
    words = [*HERE, "--doCPU", "--max-freq", "1", "--skipCloseSources", *cluster]
    assert main([*words, "--period-algorithms", "LS_CE_AOV"]) == 0
    periods = [name for name in read_table(FILE) if name.startswith("period_") and name.count("_") in (1, 3)]
    assert periods[:3] == ["period_LS", "period_CE", "period_ELS_ECE_EAOV"]
    stated = json.loads(pq.read_schema(FILE).metadata[b"scope"])
    assert stated["period_kernels"] == {"LS": "LS", "CE": "CE", "ELS_ECE_EAOV": "LS_CE_AOV"}
    rows = len(read_table(FILE))
    assert main([*words, "--period-algorithms", "ELS_ECE_EAOV", "--nested-full-aov", "--fourier", "documented"]) == 0
    assert "period_EAOV" in read_table(FILE)
    assert json.loads(pq.read_schema(FILE).metadata[b"scope"])["fourier"] == "documented"
    assert len(read_table(FILE)) == rows
    assert rows > 12, "sources near the bright star are kept"


def test_the_highest_frequency_follows_from_the_cadence(sky_server, cluster) -> None:
    words = [*HERE, "--doCPU", "--period-algorithms", "ELS", "--max-freq", "3", *cluster]
    assert main([*words, "--doScaleMinPeriod", "--min-cadence-minutes", "1440"]) == 0
    stated = json.loads(pq.read_schema(FILE).metadata[b"scope"])
    assert stated["periods"]["max_freq"] == 0.5
    assert read_table(FILE)["period_ELS"].min() >= 2.0


def test_stopping_early_takes_the_first_sources(sky_server, cluster) -> None:
    assert main([*HERE, "--skipCloseSources", "--stop-early", "--limit", "5", *cluster]) == 0
    frame = sky.light_curves()
    long = frame[(frame["quad"] == 4) & (frame["hjd"].map(len) >= 30)]["_id"]
    assert read_table(FILE)["_id"].tolist() == sorted(long)[:5]


def test_the_quadrant_of_a_job(sky_server, cluster) -> None:
    folder = Path("elsewhere/DR15")
    (folder / "slurm").mkdir(parents=True)
    (folder / "slurm" / "slurm.dat").write_text("0 296 1 1\n5738 301 2 3\n")
    sky.configure(sky_server, feature_generation={"path_to_features": "elsewhere"})
    words = ["--doQuadrantFile", "--quadrant-index", "5738", "--dirname", "DR15", "--filename", "made"]
    assert main([*HERE, *words, *cluster]) == 0
    assert set(read_table(folder / "field_301" / "made_field_301_ccd_2_quad_3.parquet")["quad"]) == {3}


def test_specific_ids_of_the_command_line_the_configuration_or_those_kept_before(sky_server, cluster) -> None:
    made = Path("generated_features/specific_ids/gen_features_specific_ids.parquet")
    words = [*HERE, "--doSpecificIDs", *cluster]
    write_table(pd.DataFrame({"ztf_id": IDS, "fritz_name": [f"S{i}" for i in IDS]}), "ids.h5")
    assert main([*words, "--fg-dataset", "ids.h5"]) == 0
    table = read_table(made)
    assert (table["fritz_name"] == "S" + table["_id"].astype(str)).all()
    assert set(table["quad"]) == {3, 4}
    places = sky.light_curves().set_index("_id").loc[table["_id"], ["field", "ccd", "quad"]]
    assert np.array_equal(table[["field", "ccd", "quad"]], places)
    Path("none.csv").write_text("ztf_id\n")
    assert main([*words, "--fg-dataset", "none.csv"]) == 0
    assert len(read_table(made)) == 0
    assert main([*words, "--fg-dataset", "ids.h5"]) == 0
    kept = made.with_name("specific_ids_dropCloseSources.json").rename("kept.json")
    sky.configure(sky_server, feature_generation={"ids_skipGaia": str(kept)})
    assert main([*words, "--skipCloseSources"]) == 0
    assert read_table(made)["_id"].tolist() == table["_id"].tolist()
    write_table(pd.DataFrame({"_id": IDS[:3]}), "few.csv")
    sky.configure(sky_server, feature_generation={"dataset": "few.csv"})
    assert main([*words, "--skipCloseSources"]) == 0
    assert set(read_table(made)["_id"]) <= set(IDS[:3])


def test_files_without_catalogues_lack_their_columns_with_a_warning(sky_server, sky_paths, cluster, capsys) -> None:
    assert main([*HERE, "--source-archive", str(sky_paths["archive"]), *cluster]) == 0
    said = "no --catalog-path for Gaia_EDR3, ZTF_alerts, AllWISE, PS1_DR1: their columns are left out, and sources"
    assert said in capsys.readouterr().err
    assert not [name for name in read_table(FILE) if "AllWISE" in name or "alert" in name]


def test_catalogues_are_matched_by_the_filter_of_the_configuration(sky_server, sky_paths, cluster) -> None:
    catalogs = {
        "AllWISE": {"filter": {"w1mpro": {"$lt": 16}}, "projection": {"_id": 1, "w1mpro": 1}},
        "Gaia_EDR3": {"filter": {"phot_g_mean_mag": {"$gt": 100}}, "projection": {"_id": 1}},
    }
    sky.configure(sky_server, feature_generation={"external_catalog_features": catalogs})
    tables = []
    for words in (
        [],
        ["--overwrite", *local({name: sky_paths[name] for name in ("archive", *catalogs, "ZTF_alerts")})],
    ):
        assert main([*HERE, *cluster, *words]) == 0
        tables.append(sky.sorted_features(read_table(FILE)))
    there, here = tables
    pd.testing.assert_frame_equal(there, here)
    assert 0 < there["AllWISE__w1mpro"].notna().sum() < len(there)
    assert (there["AllWISE__w1mpro"].dropna() < 16).all()
    assert there["Gaia_EDR3___id"].isna().all()
    assert len(there) == 12, "the bright stars are those without the filter"


def test_the_same_command_does_nothing_more_and_nothing_is_saved_if_so_asked(sky_server, cluster, capsys) -> None:
    words = [*HERE, "--verbose", "1", *cluster]
    assert main([*words, "--doNotSave"]) == 0
    assert "12 light curves; nothing is saved" in capsys.readouterr().out
    assert not list(Path("generated_features").rglob("*.parquet"))
    assert main(words) == 0
    assert f"12 light curves in {FILE}" in capsys.readouterr().out
    assert main(words) == 0
    assert f"{FILE} is there already, of the same sources and options" in capsys.readouterr().out


def test_an_empty_quadrant_is_an_empty_file(sky_server, cluster) -> None:
    assert main(["--field", "999", "--verbose", "0", *cluster]) == 0
    table = read_table("generated_features/field_999/gen_features_field_999_ccd_1_quad_1.parquet")
    assert len(table) == 0
    assert len(table.columns) > 80


def test_as_a_process_with_a_token_that_is_refused_it_ends_with_one_sentence(sky_server, tmp_path) -> None:
    sky_server.tokens.clear()
    command = [sys.executable, "-m", "scope_dask.commands.generate_features", *HERE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "Error: Kowalski instance kowalski, aggregate on ZTF_sources_20230109: " in done.stderr
    assert done.stderr.count("\n") == 1
    assert TOKEN not in done.stdout + done.stderr
