"""Stage 2, sources → lightcurves: which points and which light curves the features are computed from."""
