"""The keys of a cluster: one key and certificate, made at launch, known to nobody but the cluster's owner."""

from __future__ import annotations

import os
from pathlib import Path

from distributed.security import Security

from scope_dask.cluster.sockets import OwnErrors

_FILES = {"tls_ca_file": "certificate.pem", "tls_client_key": "key.pem"}


def make_keys(folder: Path) -> Security:
    """Write a new key and certificate to a folder, readable by the owner only, and return how to use them."""
    new = Security.temporary()
    folder.mkdir(mode=0o700, exist_ok=True)
    for field, name in _FILES.items():
        handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(getattr(new, field))
    return key_paths(folder)


def key_paths(folder: Path) -> Security:
    """Return the security of a cluster whose keys are in `folder`."""
    certificate, key = str(folder / _FILES["tls_ca_file"]), str(folder / _FILES["tls_client_key"])
    roles = {
        f"tls_{role}_{what}": path
        for role in ("client", "scheduler", "worker")
        for what, path in (("cert", certificate), ("key", key))
    }
    return OwnErrors(require_encryption=True, tls_ca_file=certificate, **roles)
