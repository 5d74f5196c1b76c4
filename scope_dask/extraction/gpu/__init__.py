"""The features on a GPU: CUDA kernels over whole partitions, siblings of the CPU's functions of the same names.

`features.compute_on_device` does all of a partition; `frame` takes the light curves from a cuDF partition and makes
one of the results. Importing this package needs neither CuPy nor cuDF nor a GPU.
"""
