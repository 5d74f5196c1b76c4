"""``scope-inference``: another name of ``run-inference``."""

from __future__ import annotations

import sys
from dataclasses import replace

from scope_dask.commands import run_inference

COMMAND = replace(run_inference.COMMAND, name="scope-inference")
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
