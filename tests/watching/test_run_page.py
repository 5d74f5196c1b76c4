"""The page of runs: a real scheduler, real HTTP, a real browser; its figures are those of the run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import opened
from click.testing import CliRunner
from clusters import partition, table, two_workers
from distributed import Client
from processes import started

import scope_dask as sd
from scope_dask import tally
from scope_dask.commands.scope import scope
from scope_dask.errors import RunError
from scope_dask.summary import RunSummary
from scope_dask.watching.announce import page_address
from scope_dask.watching.figures import Figures
from scope_dask.watching.scheduler import Runs
from scope_dask.watching.terminal import lines, runs_of
from scope_dask.writing import WriteOptions, write_tables

PATIENCE = 60.0


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with two_workers() as client:
        client.register_plugin(Runs())
        yield client


def get(client: Client, path: str = "") -> str:
    """Return what the page's address, or one below it, answers."""
    with urllib.request.urlopen(page_address(client) + path, timeout=30) as answer:
        assert answer.status == 200
        return answer.read().decode()


def told(client: Client) -> list[dict[str, Any]]:
    """Return the runs as JSON, the newest first."""
    return json.loads(get(client, "/runs.json"))["runs"]


def until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


def noted(frame: Any) -> Any:
    """Return the partition with the history of a stage that drops and sets aside."""
    entry = {"stage": "odd", "rows_in": 5, "rows_out": 2, "seconds": 0.5, "dropped": {"dull": 3}}
    return tally.put(frame.copy(), [{**entry, "set_aside": [(int(frame["_id"].iloc[0]), "no <b>period</b>")]}])


def troubled(tmp_path: Path, count: int = 12) -> Any:
    """Return a table in whose run everything happens: stages, reasons, partitions that fail."""
    for number in (3, 7):
        (tmp_path / f"fail-{number}").touch()
    return table(count, troubles=tmp_path).map_partitions(noted, meta=partition(0).iloc[:0])


def without_reasons(summary: RunSummary) -> dict[str, Any]:
    return {**json.loads(json.dumps(summary.as_dict())), "failed": {}}


def test_a_browser_shows_what_the_run_says(client: Client, tmp_path: Path) -> None:
    with opened(page_address(client), tmp_path) as page:
        assert "No run has been started here yet." in page.text("main")
        assert "2 workers with 2 threads" in page.text("main")
        summary = write_tables({"features": troubled(tmp_path)}, tmp_path / "out", client, WriteOptions())
        page.until("document.querySelector('main .state')?.innerText == 'finished'")
        (run,) = told(client)
        assert run["summary"] == without_reasons(summary)
        assert run["failed"] == len(summary.failed) == 2
        boxes = page.evaluate("[...document.querySelectorAll('.number')].map((box) => box.innerText.split('\\n'))")
        shown = {caption: value for value, caption in boxes}
        assert shown["of 12 partitions"] == "12"
        assert shown["light curves"] == str(summary.stages["odd"].rows_in) == "50"
        assert shown["partitions set aside"] == "2"
        assert shown["written"] == f"{summary.bytes_written / 2**10:.2f} kiB"
        assert float(shown["light curves/s"]) == pytest.approx(50 / summary.wall_seconds, abs=0.06)
        assert page.evaluate("document.querySelector('progress').value") == 12
        rows = page.evaluate(
            "[...document.querySelectorAll('tbody tr')].map((row) => [...row.children].map((cell) => cell.innerText))"
        )
        assert rows[0][:5] == ["odd", "50", "20", "30 dull", "10 no <b>period</b>"]
        assert rows[1][:2] == ["2", summary.failed[int(rows[1][2].split(", ")[0])]]
        assert {int(number) for number in rows[1][2].split(", ")} == {3, 7}


def test_the_page_is_up_to_date_while_a_run_goes_on(client: Client, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    before = {run["run"] for run in told(client)}

    def watch(record: Any) -> None:
        """Hold the run at its third partition until the page has these three."""
        if len(seen) < 3:
            seen.append(record)
        if len(seen) == 3 and seen[-1] is record:
            until(lambda: told(client)[0]["finished"] == 3)
            run = told(client)[0]
            assert run["state"] == "running"
            assert run["run"] not in before
            assert run["summary"]["bytes_written"] == sum(size for r in seen for _, size in r["files"])
            assert run["bytes_expected"] == pytest.approx(8 / 3 * run["summary"]["bytes_written"], abs=1)
            assert run["seconds_left"] == pytest.approx(run["elapsed"] / 3 * 5, rel=0.5)
            said = get(client, "/now")
            assert 'class="state running"' in said
            assert "<b>3</b><span>of 8 partitions</span>" in said

    write_tables({"": table(8)}, tmp_path / "out", client, WriteOptions(watch=watch, partitions_in_flight=2))
    run = told(client)[0]
    assert (run["state"], run["finished"], run["seconds_left"]) == ("finished", 8, None)


def test_what_is_taken_from_an_earlier_run_is_no_part_of_the_pace(client: Client, tmp_path: Path) -> None:
    frame = troubled(tmp_path)
    write_tables({"features": frame}, tmp_path / "out", client, WriteOptions())
    (tmp_path / "fail-3").unlink()
    again = write_tables({"features": frame}, tmp_path / "out", client, WriteOptions(resume=True))
    run, first = told(client)[:2]
    assert (again.reused, again.computed, list(again.failed)) == (10, 1, [7])
    assert run["summary"] == without_reasons(again)
    assert run["light_curves_per_second"] == pytest.approx(5 / again.wall_seconds)
    assert run["failures"] == [{"reason": again.failed[7], "count": 1, "partitions": [7]}]
    assert first["finished"] == 12, "a finished run stays"
    assert f'<details id="{first["run"]}">' in get(client)


def test_fields_with_what_is_known_of_them_beforehand(client: Client, tmp_path: Path) -> None:
    for field, count in ((296, 6), (487, 9)):
        options = sd.SimulationOptions(field=field, n_light_curves=count, light_curves_per_partition=3)
        sd.write_archive(sd.simulate_sources(options), tmp_path / "archive" / str(field))
    sources = sd.read_archive(tmp_path / "archive", partition_bytes="1 B")
    summary = sd.write(sd.lightcurves(sources, min_n_lc_points=1), tmp_path / "out")
    fields = told(client)[0]["fields"]
    assert {name: own["partitions"] for name, own in fields.items()} == {"296": 6, "487": 9}
    assert {name: own["done"] for name, own in fields.items()} == {"296": 6, "487": 9}
    assert sum(own["rows"] for own in fields.values()) == summary.rows[""]
    assert 'aria-label="field 487: 9 of 9 partitions"' in get(client)


def test_the_dashboard_of_dask_has_the_names_of_stages(client: Client, tmp_path: Path) -> None:
    options = sd.SimulationOptions(n_light_curves=4, light_curves_per_partition=2)
    sd.write(sd.lightcurves(sd.simulate_sources(options)), tmp_path / "out")
    task = "simulate+lightcurves+write"

    def metered() -> bool:
        """Tell whether the heartbeats of the workers have brought the share of the stage in its task."""
        return ("execute", task, "lightcurves", "seconds") in client.run_on_scheduler(
            lambda dask_scheduler: set(dask_scheduler.cumulative_worker_metrics)
        )

    until(metered)
    assert task in client.run_on_scheduler(lambda dask_scheduler: set(dask_scheduler.task_prefixes))


def test_a_run_that_ends_early_says_why(client: Client, tmp_path: Path) -> None:
    def watch(record: Any) -> None:
        raise RuntimeError("<enough>\nof it")

    with pytest.raises(RuntimeError, match="enough"):
        write_tables({"": table(5)}, tmp_path / "out", client, WriteOptions(watch=watch))
    run = told(client)[0]
    assert (run["state"], run["said"]) == ("ended", "<enough>")
    assert '<p class="note">&lt;enough&gt;</p>' in get(client)


def test_a_run_without_a_scheduler_ends_with_its_own_sentence(tmp_path: Path) -> None:
    with Client(processes=False, n_workers=0, dashboard_address="127.0.0.1:0") as client:
        frame = table(2)
    with pytest.raises(RunError, match="the scheduler is gone"):
        write_tables({"": frame}, tmp_path / "out", client, WriteOptions())


def test_a_program_that_is_killed_does_not_look_as_if_it_went_on(client: Client, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from clusters import table; from distributed import Client\n"
        "from scope_dask.writing import WriteOptions, write_tables\n"
        "with Client(sys.argv[1]) as client:\n"
        "    write_tables({'': table(200, seconds=0.2)}, Path(sys.argv[2]), client, WriteOptions())\n"
    )
    before = len(told(client))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    address = client.scheduler.address
    with started([sys.executable, "-c", program, address, str(tmp_path / "out")], env=environment) as process:
        until(lambda: len(told(client)) > before and told(client)[0]["finished"] > 0)
        process.send_signal(signal.SIGKILL)
    lost = until(lambda: (told(client)[0]["state"] == "lost") and told(client)[0])
    time.sleep(0.2)
    assert told(client)[0]["elapsed"] == lost["elapsed"]
    assert "its program is gone" in get(client)


def test_the_terminal_prints_the_same(client: Client, tmp_path: Path) -> None:
    summary = write_tables({"features": troubled(tmp_path)}, tmp_path / "out", client, WriteOptions())
    done = CliRunner().invoke(scope, ["status", client.scheduler.address])
    assert done.exit_code == 0, done.output
    newest, *_ = runs = runs_of(client)
    assert done.stdout == "".join(f"{line}\n" for run in runs for line in lines(run))
    assert isinstance(newest, Figures)
    printed = "\n".join(lines(newest))
    assert "finished, since" in printed
    assert "12 of 12 partitions, 2 set aside" in printed
    assert all(line in printed for line in summary.stage_lines())
    assert re.search(r"2 set aside as a whole: ValueError: partition \d is bad", printed)


SAMPLE = re.compile(r'(\w+)\{((?:\w+="(?:[^"\\\n]|\\.)*",?)*)\} ([-\d.e+]+)')


def test_metrics_in_the_text_format_of_prometheus(client: Client, tmp_path: Path) -> None:
    summary = write_tables({"features": troubled(tmp_path)}, tmp_path / "out", client, WriteOptions())
    name = told(client)[0]["run"]
    found = {}
    for line in get(client, "/metrics").splitlines():
        if line.startswith("#"):
            assert re.fullmatch(r"# (HELP \w+ .+|TYPE \w+ (counter|gauge))", line)
            continue
        metric, labels, value = SAMPLE.fullmatch(line).groups()
        labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels))
        if labels.pop("run") == name:
            found[metric, *labels.values()] = float(value)
    assert found["scope_finished_partitions_total", "computed"] == summary.computed
    assert found["scope_finished_partitions_total", "failed"] == len(summary.failed)
    assert found["scope_rows_in_total", "odd"] == summary.stages["odd"].rows_in
    assert found["scope_rows_dropped_total", "odd", "dull"] == summary.stages["odd"].dropped["dull"]
    assert found["scope_rows_set_aside_total", "odd", "no <b>period</b>"] == 10
    assert found["scope_written_bytes_total",] == summary.bytes_written
    assert found["scope_run_info", str(tmp_path / "out"), "finished"] == 1


def test_metrics_among_those_of_dask(client: Client, tmp_path: Path) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    write_tables({"": table(2)}, tmp_path / "out", client, WriteOptions())
    with urllib.request.urlopen(client.dashboard_link.replace("/status", "/metrics"), timeout=30) as answer:
        families = {family.name: family for family in parser.text_string_to_metric_families(answer.read().decode())}
    assert "dask_scheduler_workers" in families
    own = parser.text_string_to_metric_families(get(client, "/metrics"))
    for family in own:
        assert len(families[family.name].samples) == len(family.samples)


def test_behind_a_prefix_and_with_a_slash(client: Client) -> None:
    base = client.dashboard_link.removesuffix("/status")
    for path in ("/scope/", "/user/me/proxy/8787/scope", "/user/me/proxy/8787/scope/"):
        with urllib.request.urlopen(base + path, timeout=30) as answer:
            assert answer.url == base + path.removesuffix("/")
            assert "scope_dask: runs" in answer.read().decode()


def test_a_browser_says_when_the_scheduler_is_gone(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(Client(processes=False, n_workers=0, dashboard_address="127.0.0.1:0"))
        client.register_plugin(Runs())
        page = stack.enter_context(opened(page_address(client), tmp_path))
        page.until("document.getElementById('silent').hidden")
        client.cluster.close()
        page.until("!document.getElementById('silent').hidden")
        assert "The scheduler does not answer" in page.text("header")
