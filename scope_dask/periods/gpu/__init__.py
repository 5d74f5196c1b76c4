"""The period search on a GPU: CUDA kernels over whole partitions, with the CPU's definitions and results.

`search.search` is the sibling of `scope_dask.periods.search.search`; `engine.Engine` scans and evaluates with single
methods. Importing this package needs neither CuPy nor a GPU.
"""
