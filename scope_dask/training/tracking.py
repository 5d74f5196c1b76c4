"""Trainings as runs of Weights & Biases, where it is installed; without a token they stay on this machine."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from scope_dask.errors import RunError


@dataclass(frozen=True)
class Tracking:
    """Where runs go.

    Attributes
    ----------
    project : str
    entity : str or None
    token : pydantic.SecretStr or None
        None: runs are written to the folder ``wandb`` and can be sent with ``wandb sync``.
    group, job_type : str
    """

    project: str = "scope"
    entity: str | None = None
    token: SecretStr | None = None
    group: str = "experiment"
    job_type: str = "train"

    @property
    def available(self) -> bool:
        """Whether the package wandb is installed."""
        spec = importlib.util.find_spec("wandb")
        return spec is not None and spec.origin is not None  # not the folder that runs are written to

    def log(
        self,
        name: str,
        config: Mapping[str, Any],
        history: Mapping[str, Sequence[float]],
        summary: Mapping[str, Any],
    ) -> str:
        """Write a run, and return its folder.

        Parameters
        ----------
        name : str
        config : mapping
            Options of the training.
        history : mapping
            Metrics by epoch.
        summary : mapping
            Final numbers.

        Raises
        ------
        RunError
            If the service does not take it; the models and local records are not touched by that.
        """
        import wandb

        online = self.token is not None and bool(self.token.get_secret_value())
        if online and self.token is not None:
            os.environ["WANDB_API_KEY"] = self.token.get_secret_value()  # of this process only
        try:
            run = wandb.init(
                project=self.project,
                entity=self.entity,
                name=name,
                group=self.group,
                job_type=self.job_type,
                config=dict(config),
                mode="online" if online else "offline",
                reinit="finish_previous",
                settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
            )
            epochs = max((len(values) for values in history.values()), default=0)
            for k in range(epochs):
                run.log({name: values[k] for name, values in history.items() if k < len(values)}, step=k)
            run.summary.update(dict(summary))
            run.finish()
        except (wandb.Error, OSError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise RunError(f"Weights & Biases does not take the run {name}: {reason}") from error
        return str(run.dir)
