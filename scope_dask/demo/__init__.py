"""The demonstration: a field (simulated or real), from light curves to scores, on one page of plots."""

from __future__ import annotations

from scope_dask.demo.run import run_demo

__all__ = ["run_demo"]
