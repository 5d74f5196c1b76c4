"""Stage 3, lightcurves → features: statistics, Fourier decomposition, dmdt, assembled with the periods."""
