"""The device that a model is trained on."""

from __future__ import annotations

import warnings

from scope_dask.errors import OptionError


def gpus() -> list[str]:
    """Return the names of the CUDA devices that this process sees."""
    from numba import cuda
    from numba.cuda.cudadrv.error import CudaSupportError

    try:
        return [device.name.decode() if isinstance(device.name, bytes) else str(device.name) for device in cuda.gpus]
    except CudaSupportError:
        return []


def gpu_or_cpu(number: int | None) -> int | None:
    """Return the number of the CUDA device to train on; None: on the CPU, with a warning where there is none at all.

    Raises
    ------
    OptionError
        If there are devices, but not this one.
    """
    if number is None:
        return None
    found = gpus()
    if not found:
        warnings.warn(f"--gpu is {number}, and there is no GPU here: training on the CPU", UserWarning, stacklevel=2)
        return None
    if not 0 <= number < len(found):
        there = ", ".join(f"{k} ({name})" for k, name in enumerate(found))
        raise OptionError(f"--gpu is {number}, and there is no such GPU; there are {there}")
    return number
