"""The user's ``config.yaml`` with the keys of SCoPe 0.9.5: reading, checking, and what it means for our options.

Nothing has to be in the file: what is absent keeps the default of the options it would set, or that of the packaged
``config.defaults.yaml`` (`UserConfig.section`). Secrets come from the environment before the file, and are shown as
asterisks wherever the configuration is printed.
"""

from scope_dask.user_config.file import (
    DEFAULTS,
    INSTANCES,
    NAME,
    Difference,
    UserConfig,
    check_configs,
    packaged_defaults,
    read_file,
    read_user_config,
    unknown_keys,
)

__all__ = [
    "DEFAULTS",
    "INSTANCES",
    "NAME",
    "Difference",
    "UserConfig",
    "check_configs",
    "packaged_defaults",
    "read_file",
    "read_user_config",
    "unknown_keys",
]
