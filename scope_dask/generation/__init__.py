"""Feature generation: from a quadrant or a list of ids to one file of features, as ``generate-features`` does it."""

from scope_dask.generation.layout import FeatureFolder
from scope_dask.generation.options import GenerationOptions, Quadrant, SpecificIds
from scope_dask.generation.origins import ArchiveOrigin, Catalogs, KowalskiOrigin, Origin
from scope_dask.generation.run import Generated, Job, generate
from scope_dask.generation.table import feature_table

__all__ = [
    "ArchiveOrigin",
    "Catalogs",
    "FeatureFolder",
    "Generated",
    "GenerationOptions",
    "Job",
    "KowalskiOrigin",
    "Origin",
    "Quadrant",
    "SpecificIds",
    "feature_table",
    "generate",
]
