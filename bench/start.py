"""Time from the start of an interpreter to the first finished partition, and what importing costs.

    python bench/start.py [--rounds 5] [--cluster PROFILE]

The kernels are compiled beforehand (a warm cache). Each round starts fresh interpreters: one that imports
dask.dataframe, one that imports scope_dask, one that computes a partition of one simulated light curve in its own
process, and ``dask scope run`` of two such partitions on a local cluster of one worker, whose first record is waited
for; with `--cluster` also one that launches a cluster of a profile. Wall seconds and CPU seconds (of all processes
started, but for jobs), least and median of the rounds: on a busy machine the least wall time is the fairer, and the CPU
time fairer still where one process works at a time.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml
from workload import machine

FIRST_PARTITION = """
from scope_dask.pipeline import Pipeline
options = {"out": "unused", "sources": {"simulate": {"n_light_curves": 1}}, "features": {"periods": {"max_freq": 3.0}}}
tables = Pipeline.from_config(options).tables()
assert len(tables["features"].partitions[0].compute(scheduler="synchronous")) <= 1
"""
SCRIPTS = {
    "python": "pass",
    "import dask.dataframe": "import dask.dataframe",
    "import scope_dask": "import scope_dask",
    "first partition, this process": FIRST_PARTITION,
}
RUN = {
    "sources": {"simulate": {"n_light_curves": 2, "light_curves_per_partition": 1}},
    "features": {"periods": {"max_freq": 3.0}},
    "run": {"n_workers": 1, "dashboard_address": "127.0.0.1:0"},
}


def script_seconds(script: str) -> tuple[float, float]:
    """Return the wall and CPU time of a script in an interpreter of its own."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", script], check=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def cluster_seconds(*options: str) -> tuple[float, float]:
    """Return the wall and CPU time until ``dask scope run`` has written its first record; no CPU time of jobs."""
    with tempfile.TemporaryDirectory() as folder:
        config, journal = Path(folder) / "config.yaml", Path(folder) / "out" / "_records.jsonl"
        config.write_text(yaml.safe_dump({"out": str(journal.parent), **RUN}))
        start = time.perf_counter()
        command = [sys.executable, "-m", "dask", "scope", "run", str(config), *options]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while not (journal.exists() and journal.stat().st_size) and process.poll() is None:
                time.sleep(0.01)
            wall = time.perf_counter() - start
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            spent = [member.cpu_times() for member in family]
            process.wait()
    return wall, sum(times.user + times.system for times in spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cluster", metavar="PROFILE", help="also launch a cluster of this profile")
    asked = parser.parse_args()
    subprocess.run([sys.executable, "-m", "scope_dask.extraction.warm_up"], check=True)
    runs: dict[str, tuple[str, ...]] = {"first partition, local cluster": ()}
    if asked.cluster:
        runs[f"first partition, {asked.cluster}"] = ("--cluster", asked.cluster)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in (*SCRIPTS, *runs)}
    for _ in range(asked.rounds):
        for name, script in SCRIPTS.items():
            times[name].append(script_seconds(script))
        for name, options in runs.items():
            times[name].append(cluster_seconds(*options))
    print(machine())
    print(f"{'':<36} {'wall, least':>12} {'median':>9} {'CPU, least':>12} {'median':>9}")
    for name, taken in times.items():
        wall, cpu = zip(*taken, strict=True)
        print(
            f"{name:<36} {min(wall):>12.2f} {statistics.median(wall):>9.2f}"
            f" {min(cpu):>12.2f} {statistics.median(cpu):>9.2f}"
        )
    bare, dask, ours = (min(cpu for _, cpu in times[name]) for name in list(SCRIPTS)[:3])
    print(f"CPU of import scope_dask over import dask.dataframe: {(ours - bare) / (dask - bare):.2f}")


if __name__ == "__main__":
    main()
