"""Job scripts of SLURM that run a command by themselves, without a Dask cluster: written, and read again."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scope_dask.cluster.jobs import directives, prologue, slurm_time
from scope_dask.cluster.profile import ClusterProfile
from scope_dask.errors import OptionError, SourceError
from scope_dask.formats.atomic import replacing

STARTED, ENDED = "job started", "job ended"  # what the lines begin with that `joblogs` looks for

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_BIN = Path(sys.executable).parent
_TRAPS = (
    f"""trap 'echo "{ENDED}: exit code $? after $SECONDS s"' EXIT""",
    "trap 'exit 143' HUP INT TERM USR1 USR2 XCPU",  # else the code of a job that a signal ends is 0 for the other trap
)


@dataclass(frozen=True)
class BatchJob:
    """What a job asks for, and what it does.

    Attributes
    ----------
    name : str
        Of the job; its logs are called after it.
    profile : ClusterProfile
        What it asks for.
    lines : sequence of str
        Of shell, which do the work; ``{python}`` in them is the interpreter.
    logs : Path
        Folder of the logs.
    variable, about : str or None, str
        The variable that tells such jobs from each other, and what it means.
    nodes : int
    threads : int
        Of the libraries that count with several.
    mail_user : str or None
        Who is told when the job begins and ends.
    python_env : str or None
        Environment to activate: a folder with ``bin/activate``, or the name of one of conda.
    folder : Path
        In which it runs.
    """

    name: str
    profile: ClusterProfile
    lines: Sequence[str]
    logs: Path
    variable: str | None = None
    about: str = ""
    nodes: int = 1
    threads: int = 1
    mail_user: str | None = None
    python_env: str | None = None
    folder: Path = field(default_factory=Path.cwd)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise OptionError(f"the name of the job is {self.name!r}, expected letters, digits, '_', '-' and '.'")
        if self.nodes < 1:
            raise OptionError(f"the number of nodes is {self.nodes}, expected 1 or more")

    def text(self) -> str:
        """Return the script."""
        task = "" if self.variable is None else f"{self.variable}=${{{self.variable}:?is not given}} "
        lines = [
            "#!/bin/bash",
            *(f"#SBATCH {line}" for line in self._directives()),
            *([f"# {self.variable}: {self.about}"] if self.variable else []),
            *_TRAPS,
            f'echo "{STARTED}: ${{SLURM_JOB_ID:-$$}} {task}on $(hostname) at $(date -u +%Y-%m-%dT%H:%M:%SZ)"',
            *prologue(self.profile, threads=self.threads),
            *self._surroundings(),
            *(line.replace("{python}", self._python) for line in self.lines),
        ]
        return "\n".join(lines) + "\n"

    def _directives(self) -> list[str]:
        profile = self.profile
        log = self.logs.absolute() / f"{self.name}_%A_%a"
        asked = {
            "--job-name": self.name,
            "--output": _escaped(f"{log}.out"),
            "--error": _escaped(f"{log}.err"),
            "--chdir": shlex.quote(str(self.folder.absolute())),
            "--partition": profile.partition,
            "--account": profile.account,
            "--nodes": self.nodes,
            "--ntasks-per-node": 1,
            "--cpus-per-task": profile.cpus,
            "--mem": f"{profile.job_mebibytes}M" if profile.memory_rule == "mem" else None,
            "--time": slurm_time(profile.walltime_seconds),
            "--mail-user": self.mail_user and shlex.quote(self.mail_user),
            "--mail-type": "BEGIN,END,FAIL" if self.mail_user else None,
        }
        stated = [f"{option}={value}" for option, value in asked.items() if value is not None]
        return [*stated, *directives(profile)]

    def _surroundings(self) -> list[str]:
        """Return the lines that make the scratch folder, and commands of ours found by their names."""
        scratch = self.profile.scratch
        lines = (
            [f'export DASK_TEMPORARY_DIRECTORY="{scratch}"', 'mkdir -p "$DASK_TEMPORARY_DIRECTORY"'] if scratch else []
        )
        if self.python_env:
            return [*lines, *_activation(self.python_env)]
        return lines if self.profile.python else [*lines, f"export PATH={shlex.quote(str(_BIN))}:$PATH"]

    @property
    def _python(self) -> str:
        return "python" if self.python_env else self.profile.python or shlex.quote(sys.executable)


def _activation(name: str) -> list[str]:
    script = Path(os.path.expanduser(name)).absolute() / "bin" / "activate"
    if script.is_file():
        return [f"source {shlex.quote(str(script))}"]
    if "/" in name:
        raise OptionError(f"{name} is no Python environment: it has no bin/activate")
    return ['eval "$(conda shell.bash hook)"', f"conda activate {shlex.quote(name)}"]


def _escaped(pattern: str) -> str:
    """Return the pattern of a log's name; a ``%`` in its folder is none of SLURM's."""
    folder, slash, name = pattern.rpartition("/")
    return shlex.quote(f"{folder.replace('%', '%%')}{slash}{name}")


@dataclass(frozen=True)
class WrittenScript:
    """A job script as it lies on disk, perhaps edited since.

    Attributes
    ----------
    path : Path
        Absolute.
    job_name : str
    logs : Path
    lines : list of str
    """

    path: Path
    job_name: str
    logs: Path
    lines: list[str]

    @classmethod
    def read(cls, path: Path, maker: str) -> WrittenScript:
        """Read a script; `maker` is the command that writes it.

        Raises
        ------
        SourceError
            If it is absent, or has no name or log.
        """
        try:
            lines = path.read_text().splitlines()
        except OSError as error:
            raise SourceError(f"the job script {path} cannot be read ({error.strerror}): {maker} writes it") from None
        asked = {}
        for line in lines:
            if match := re.fullmatch(r"#SBATCH\s+--(job-name|output)[= ](.+)", line):
                asked[match[1]] = " ".join(shlex.split(match[2]))
        if set(asked) != {"job-name", "output"}:
            raise SourceError(f"{path} has no --job-name and --output: write it again with {maker}")
        return cls(path.absolute(), asked["job-name"], Path(asked["output"].replace("%%", "%")).parent, lines)

    def words(self, module: str) -> list[str]:
        """Return the words that the script calls a module of ``scope_dask.commands`` with.

        Raises
        ------
        SourceError
            If it does not.
        """
        call = f"-m scope_dask.commands.{module} "
        for line in self.lines:
            if call in line and not line.startswith("#"):
                return [word for word in shlex.split(line.partition(call)[2]) if word != "$@"]
        raise SourceError(f"{self.path} does not call {module.replace('_', '-')}: write it again")


def write_scripts(scripts: dict[Path, str]) -> list[Path]:
    """Write executable scripts; return those that were there with another text."""
    changed = []
    for path, text in scripts.items():
        if path.is_file() and path.read_text() != text:
            changed.append(path)
        with replacing(path) as temporary:
            temporary.write_text(text)
            temporary.chmod(0o755)
    return changed
