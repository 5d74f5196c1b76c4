"""The period search on the full grid: CPU time of every method, beside other codes and the original.

    OMP_NUM_THREADS=1 python bench/periods.py [--curves 8] [--points 300] [--rounds 5] [--peer-curves 2] [--exact 2]

The grid is that of a survey of five years: 876,580 frequencies up to 48 cycles a day. Ours are whole searches of a
partition (scan, the 50 best distinct peaks refined in float64, mean and standard deviation); the peers' times are those
of their periodogram alone, one light curve at a time. Medians of CPU time, taken in turn within a method. Where a code
is slow only a part of the grid is timed and the time scaled ("part"). pf: one point at one frequency.

Accuracy: of ours, for how many light curves the best period is that of the whole periodogram in float64; of the peers
that compute the same statistic, the largest difference from that periodogram.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from peers import Peer, installed
from workload import BASELINE_DAYS, cpu_seconds, light_curves, machine

from scope_dask.periods.grid import frequency_grid
from scope_dask.periods.options import PeriodOptions
from scope_dask.periods.search import periodogram, search
from scope_dask.ragged import LightCurves

ORIGINAL_TRIO = 0.007  # light curves/s/core of LS + CE + AOV
SINGLE = ("LS", "CE", "AOV", "ELS", "ECE", "EAOV")


def options_for(*algorithms: str) -> PeriodOptions:
    return PeriodOptions(algorithms=algorithms, baseline_days=BASELINE_DAYS)


def peer_run(peer: Peer, curves: LightCurves, size: int) -> Callable[[], list]:
    """Return the run of a peer over some light curves on (its part of) the grid."""
    grid = frequency_grid(curves.hjd, curves.offsets, options_for("LS"))
    part = int(size * peer.fraction)
    return lambda: [peer.run(*curves[i], grid.fmin[i], grid.df[i], part) for i in range(len(curves))]


def same_best(method: str, curves: LightCurves, count: int) -> str:
    """Tell for how many of `count` light curves the search finds the best of the whole periodogram in float64."""
    found = search(curves, options_for(method))[method].frequency
    same = 0
    for i in range(count):
        frequency, value = periodogram(*curves[i], method, options_for(method))
        best = value.argmin() if method in ("CE", "ECE") else value.argmax()
        same += bool(np.isclose(frequency[best], found[i], rtol=1e-12))
    return f"best {same}/{count}"


def largest_difference(peer: Peer, method: str, curve: tuple[np.ndarray, ...], values: np.ndarray | None) -> str:
    """Return the largest difference from the periodogram in float64 (of AOV relative)."""
    if values is None or not peer.same_statistic:
        return "other statistic"
    _, exact = periodogram(*curve, method, options_for(method))
    exact = exact[: len(values)]
    return f"{np.max(np.abs(values - exact) / (exact if method == 'AOV' else 1.0)):.1e}"


def compare(method: str, ours: LightCurves, args: argparse.Namespace) -> float:
    """Print the rows of a method; return our seconds per light curve."""
    few = LightCurves.from_lists([ours[i] for i in range(args.peer_curves)])
    size = int(frequency_grid(ours.hjd, ours.offsets, options_for(method)).size[0])
    peers = installed(method)
    runs = {"scope_dask": lambda: search(ours, options_for(method))}
    runs |= {peer.name: peer_run(peer, few, size) for peer in peers}
    seconds = cpu_seconds(runs, args.rounds)
    own = seconds["scope_dask"] / len(ours)
    row(method, "scope_dask", own, own, 1.0, size * args.points, same_best(method, ours, args.exact))
    for peer in peers:
        each = seconds[peer.name] / len(few) / peer.fraction
        accuracy = largest_difference(peer, method, few[0], runs[peer.name]()[0])
        row(method, peer.name, each, own, peer.fraction, size * args.points, accuracy)
    return own


def row(method: str, name: str, each: float, own: float, part: float, pf: int, accuracy: str) -> None:
    print(
        f"{method:<13}{name:<18}{each * 1e3:>10.1f}{pf / each:>11.2e}{each / own:>9.1f}{part:>8g}  {accuracy}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("curves", 8), ("points", 300), ("rounds", 5), ("peer-curves", 2), ("exact", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    curves = light_curves(args.curves, args.points)
    print(machine())
    print(
        f"{args.points} points, {frequency_grid(curves.hjd, curves.offsets, options_for('LS')).size[0]:,} frequencies"
    )
    print(f"{'method':<13}{'code':<18}{'ms/curve':>10}{'pf/s':>11}{'times':>9}{'part':>8}  accuracy")
    each = {method: compare(method, curves, args) for method in SINGLE}
    start = time.process_time()
    runs = {
        "trio": lambda: search(curves, options_for("LS", "CE", "AOV")),
        "nested": lambda: search(curves, options_for("ELS_ECE_EAOV")),
    }
    seconds = {name: value / len(curves) for name, value in cpu_seconds(runs, args.rounds).items()}
    trio, nested, single = seconds["trio"], seconds["nested"], sum(each[m] for m in ("LS", "CE", "AOV"))
    print(
        f"LS + CE + AOV  {trio * 1e3:.1f} ms, {1 / trio:.2f} light curves/s/core: {1 / trio / ORIGINAL_TRIO:.0f}× the"
    )
    print(f"               original's {ORIGINAL_TRIO}; one by one {single * 1e3:.1f} ms")
    print(f"ELS_ECE_EAOV   {nested * 1e3:.1f} ms, {1 / nested:.2f} light curves/s/core")
    print(f"({time.process_time() - start:.0f} s of CPU for the last three lines)")


if __name__ == "__main__":
    main()
