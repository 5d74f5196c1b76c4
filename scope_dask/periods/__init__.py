"""Period search: frequency grids, kernels and the search over them."""
