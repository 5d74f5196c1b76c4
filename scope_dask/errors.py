"""Errors of scope_dask: one clear sentence each — what was wrong, what was found, what was expected, what to do."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

# errno of an OSError
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
UNUSABLE = frozenset(  # a path that one may not write to, or of another kind
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG}
)


class ScopeDaskError(Exception):
    """Base of every error that scope_dask raises on purpose."""


class UsageError(ScopeDaskError, ValueError):
    """What was asked for cannot be done as asked (commands exit with 2)."""


class SchemaError(UsageError):
    """A table lacks columns or has columns of another type than a stage needs."""


class OptionError(UsageError):
    """An option is unknown or has a value outside its range."""


class SourceError(UsageError):
    """An input file or address cannot be read."""


class ModelError(UsageError):
    """A model artefact is missing, broken or made for other features."""


class RunError(ScopeDaskError, RuntimeError):
    """A run ended without having done all it was asked for (commands exit with 1)."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known name closest to `name`, or an empty string."""
    close = difflib.get_close_matches(name, [str(k) for k in known], n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
