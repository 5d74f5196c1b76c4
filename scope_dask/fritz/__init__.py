"""Fritz, the SkyPortal where people look at sources: classifications, annotations, photometry, comments, GCN events.

The functions of the modules take a `Fritz`. The token comes from ``FRITZ_TOKEN`` in the environment or from
``fritz: token`` in the user's ``config.yaml``.

- `client`, `connection`, `options`, `errors`: asking, and what can go wrong.
- `sources`, `classifications`, `annotations`, `photometry`, `comments`, `groups`, `taxonomies`, `gcn`: what there is.
- `mappers`: which column of a table is which class of a taxonomy.
- `checks`, `upload`, `ledger`: many classifications, each posted exactly once.
"""

from scope_dask.fritz.client import Fritz
from scope_dask.fritz.errors import (
    FritzAnswerError,
    FritzAuthError,
    FritzError,
    FritzInputError,
    FritzNotFoundError,
    FritzRefusedError,
    FritzTimeoutError,
    FritzUnavailableError,
)
from scope_dask.fritz.options import FritzOptions, fritz_options

__all__ = [
    "Fritz",
    "FritzAnswerError",
    "FritzAuthError",
    "FritzError",
    "FritzInputError",
    "FritzNotFoundError",
    "FritzOptions",
    "FritzRefusedError",
    "FritzTimeoutError",
    "FritzUnavailableError",
    "fritz_options",
]
