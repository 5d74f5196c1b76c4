"""``get-quad-ids``: the ids of the light curves of ZTF fields, CCDs and quadrants, from Kowalski into files."""

from __future__ import annotations

import itertools
import json
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scope_dask.commands._layout import field_ids, ids_folder, quadrant_ids
from scope_dask.commands._parser import Call, Command, flag, option, verbose
from scope_dask.commands._quadrants import CCD_RANGE, CCDS, QUAD_RANGE, QUADS, numbers_between
from scope_dask.commands._threads import side_by_side
from scope_dask.errors import OptionError

if TYPE_CHECKING:
    import numpy as np

    from scope_dask.sources.kowalski import Kowalski

ARGUMENTS = (
    option(
        "--catalog",
        "catalogue of features or of sources",
        default="ZTF_source_features_DR16",
        config=("kowalski", "collections", "features"),
    ),
    option("--output", "taken and not used: the names of the files follow from the field"),
    option("--output-dir", "folder in which the folder ids/ is made; the working folder if not given"),
    option("--field", "ZTF field", int, 301),
    CCD_RANGE,
    QUAD_RANGE,
    option("--minobs", "least number of epochs of a light curve", int, 20),
    option("--skip", "leave out as many of the first ids (of one quadrant)", int, 0),
    option("--limit", "most ids of one quadrant; with --multi-quads or --whole-field: of a query", int, 10_000),
    flag("--multi-quads", "a file for each quadrant of the ranges"),
    flag("--whole-field", "one file for all quadrants of the field"),
    verbose(2),
)


@dataclass(frozen=True)
class Download:
    """Which ids are downloaded, and where they go.

    Attributes
    ----------
    catalog : str
    field : int
    ccds, quads : list of int
        Every combination is a quadrant.
    min_epochs : int
    folder : Path
        Of the field's files.
    whole_field : bool
        One file for all quadrants, not one for each.
    page_rows : int
        Ids of a query.
    skip, limit : int, int or None
        Of each quadrant, in the order of the ids.
    """

    catalog: str
    field: int
    ccds: list[int]
    quads: list[int]
    min_epochs: int
    folder: Path
    whole_field: bool = False
    page_rows: int = 10_000
    skip: int = 0
    limit: int | None = None

    @property
    def quadrants(self) -> list[tuple[int, int]]:
        return list(itertools.product(self.ccds, self.quads))

    @property
    def files(self) -> list[Path]:
        """The HDF5 files that are written."""
        if self.whole_field:
            return [field_ids(self.folder, self.field)]
        return [quadrant_ids(self.folder, *quadrant) for quadrant in self.quadrants]


def download_of(call: Call) -> Download:
    """Return what a command line asks for.

    Raises
    ------
    OptionError
        If it does not say which quadrants are meant, or a number is outside its range.
    """
    options = call.options
    ccds = numbers_between(options.ccd_range, CCDS, "--ccd-range")
    quads = numbers_between(options.quad_range, QUADS, "--quad-range")
    for name, least in (("field", 0), ("minobs", 0), ("skip", 0), ("limit", 1)):
        if getattr(options, name) < least:
            raise OptionError(f"--{name} is {getattr(options, name)}, expected {least} or more")
    if options.multi_quads and options.whole_field:
        raise OptionError("--multi-quads makes a file for each quadrant, --whole-field one for all: give one of them")
    if options.whole_field and (len(ccds), len(quads)) != (CCDS, QUADS):
        raise OptionError("--whole-field takes all quadrants: leave out --ccd-range and --quad-range")
    several = options.multi_quads or options.whole_field
    if not several and (len(ccds), len(quads)) != (1, 1):
        raise OptionError(
            f"the ranges have {len(ccds)} CCDs and {len(quads)} quadrants: name one by --ccd and --quad, or give "
            "--multi-quads or --whole-field"
        )
    for name in ("output", *(["skip"] if several else [])):
        if name in call.given and getattr(options, name):
            warnings.warn(f"--{name} is not used here", UserWarning, stacklevel=2)
    selected = {"page_rows": options.limit} if several else {"skip": options.skip, "limit": options.limit}
    folder = ids_folder(options.field, options.output_dir)
    what = (options.catalog, options.field, ccds, quads, options.minobs, folder, options.whole_field)
    return Download(*what, **selected)


def download_ids(kowalski: Kowalski, download: Download, call: Call) -> dict[str, Any]:
    """Download the ids and write them, each quadrant as soon as it is there.

    Files are there whole or not at all. A quadrant: ids (int64) in the dataset ``dataset_ccd_<c>_quad_<q>_field_<F>``
    of an HDF5 file, and a CSV file of them without a header. A whole field: in ``dataset_field_<F>``, in the order of
    the ids.

    Returns
    -------
    dict
        What ``meta.json`` holds: the catalogue, the least number of epochs, and the number of ids by CCD and quadrant.

    Raises
    ------
    KowalskiError
        If the service does not answer as it should; quadrants that were there before are kept.
    """
    import numpy as np

    from scope_dask.formats import write_ids
    from scope_dask.sources.kowalski import source_ids

    def fetch(quadrant: tuple[int, int]) -> np.ndarray:
        return source_ids(
            kowalski,
            download.field,
            *quadrant,
            min_epochs=download.min_epochs,
            skip=download.skip,
            limit=download.limit,
            page_rows=download.page_rows,
            catalog=download.catalog,
        )

    parts: list[np.ndarray] = []
    counts: dict[int, dict[int, int]] = {}
    found = side_by_side(fetch, download.quadrants, kowalski.options.max_queries)
    for (ccd, quad), ids in zip(download.quadrants, found, strict=True):
        counts.setdefault(ccd, {})[quad] = len(ids)
        call.say(f"field {download.field}, CCD {ccd}, quadrant {quad}: {len(ids)} ids", level=2)
        if download.whole_field:
            parts.append(ids)
        else:
            _write_quadrant(download, ccd, quad, ids)
    if download.whole_field:
        write_ids(np.sort(np.concatenate(parts)), download.files[0], f"dataset_field_{download.field}")
    return _write_meta(download, counts)


def _write_quadrant(download: Download, ccd: int, quad: int, ids: np.ndarray) -> None:
    import numpy as np

    from scope_dask.formats import write_ids
    from scope_dask.formats.atomic import replacing

    name = f"ccd_{ccd}_quad_{quad}_field_{download.field}"
    write_ids(ids, quadrant_ids(download.folder, ccd, quad), f"dataset_{name}")
    with replacing(download.folder / f"data_{name}.csv") as temporary:
        np.savetxt(temporary, ids, fmt="%d")


def _write_meta(download: Download, counts: dict[int, dict[int, int]]) -> dict[str, Any]:
    from scope_dask.formats.atomic import replacing

    meta = {
        "catalog": download.catalog,
        "minobs": download.min_epochs,
        "field": download.field,
        "ccd_range": [download.ccds[0], download.ccds[-1]],
        "quad_range": [download.quads[0], download.quads[-1]],
        "ccd": {str(ccd): {"quad": {str(q): n for q, n in quads.items()}} for ccd, quads in counts.items()},
        "total": sum(sum(quads.values()) for quads in counts.values()),
    }
    with replacing(download.folder / "meta.json") as temporary:
        temporary.write_text(json.dumps(meta, indent=2))
    return meta


def run(call: Call) -> None:
    """Download ids, or tell what would be downloaded."""
    from scope_dask.sources.kowalski import Kowalski

    download = download_of(call)
    kowalski = Kowalski.from_config(call.config)
    what = f"ids of {download.catalog} with {download.min_epochs} epochs or more, field {download.field}"
    if call.dry_run:
        call.say(f"would ask {kowalski} for the {what}, {len(download.quadrants)} quadrants")
        call.say("\n".join(f"would write {file}" for file in (*download.files, download.folder / "meta.json")))
        return
    meta = download_ids(kowalski, download, call)
    call.say(f"{meta['total']} {what}, in {download.folder}")
    if not meta["total"]:
        warnings.warn(f"there are no {what}, in these quadrants", UserWarning, stacklevel=2)


COMMAND = Command(
    "get-quad-ids",
    "Download the ids of the light curves of a ZTF field, or of its quadrants.",
    ARGUMENTS,
    run,
    on_worker=True,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
