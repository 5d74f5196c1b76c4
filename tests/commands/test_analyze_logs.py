"""analyze-logs, as a command line."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from scope_dask.commands.analyze_logs import main


def test_logs_are_summarised(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    logs = Path("logs")
    logs.mkdir()
    for job, task, day, end, error in (
        (1, 0, "01", "0 after 3600 s", ""),
        (2, 1, "02", "1 after 5 s", "Error: Kowalski does not answer within 20 s"),
        (3, 2, "03", "1 after 5 s", "Error: Kowalski does not answer within 30 s"),
        (4, 2, "04", "0 after 7200 s", ""),
        (5, 3, "05", None, "slurmstepd: error: *** JOB 5 ON cpu1 CANCELLED AT 2026-11-05 DUE TO TIME LIMIT ***"),
    ):
        lines = [f"job started: {job} QID={task} on cpu1 at 2026-11-{day}T00:00:00Z", "18 light curves in a file"]
        lines += [f"job ended: exit code {end}"] if end else []
        (logs / f"ztf_fg_{job}_{task}.out").write_text("\n".join([*lines, ""]))
        (logs / f"ztf_fg_{job}_{task}.err").write_text(f"{error}\n")
    assert main(["--logs-path", "logs", "--output-prefix", "times", "--plot-name", "plot"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "5 logs of 4 tasks: 2 done, 2 not"
    assert said[1] == "run time: median 1.5 h, 5 % below 1.05 h, 5 % above 1.95 h, 3 h in all"
    assert said[2] == "36 light curves, 0.00333 a second and job"
    assert sorted(said[3:5]) == [
        "1 failed: Error: Kowalski does not answer within # s (1)",
        "1 failed: the time limit was reached (3)",
    ]
    table = pd.read_csv("times.csv")
    assert table["task"].tolist() == [0, 1, 2, 2, 3]
    assert table["seconds"].tolist()[:4] == [3600, 5, 5, 7200]
    assert Path("plot.pdf").read_bytes().startswith(b"%PDF")
    assert main(["--logs-path", "logs", "--start-date", "2026-11-04", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "2 logs of 2 tasks: 1 done, 1 not" in said
    assert "would write runtime_output.csv and quad_runtime_hist.pdf" in said
    for words in (["--logs-path", "logs", "--logs-name-pattern", "x"], ["--start-date", "yesterday"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
