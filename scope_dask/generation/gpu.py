"""Whether the workers of a run see a GPU."""

from __future__ import annotations

from distributed import Client

from scope_dask.errors import RunError

_WORKERS_SECONDS = 120
_ADVICE = "compute on the CPU with --doCPU, or name a cluster with GPU workers with --cluster"


def sees_gpu() -> bool:
    """Tell whether this process sees a CUDA device."""
    from scope_dask.periods.gpu.device import device_here

    return device_here() is not None


def require_gpu(client: Client | None) -> None:
    """Check that every worker of a cluster (None: this machine) sees a CUDA device.

    Raises
    ------
    RunError
        If not; one sentence that says what to do.
    """
    if client is None:
        if not sees_gpu():
            raise RunError(f"there is no CUDA device here: {_ADVICE}")
        return
    client.wait_for_workers(1, timeout=_WORKERS_SECONDS)
    seen = client.run(sees_gpu)
    without = sum(not there for there in seen.values())
    if without:
        raise RunError(f"{without} of {len(seen)} workers of the cluster see no CUDA device: {_ADVICE}")
