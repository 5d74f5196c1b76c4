"""Rubin Observatory's forced photometry (tables Object, ForcedSource and Visit of the data previews), lazily."""

from scope_dask.sources.rubin.photometry import BANDS, LOW_FLUX, PhotometryRule, object_ids
from scope_dask.sources.rubin.reader import read_rubin

__all__ = ["BANDS", "LOW_FLUX", "PhotometryRule", "object_ids", "read_rubin"]
