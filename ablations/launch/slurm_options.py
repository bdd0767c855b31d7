"""What is asked of SLURM for every run, and its check: these words get into a batch script.

None passes through a shell. Each is held against what SLURM allows in such a name or amount, which
has no space, quote, percent sign or line end.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ablations.errors import RequestError

_NAME = (re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*"), "letters, digits, '_', '.', '@', '+', '-'")
_NAMES = (
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*(,[A-Za-z0-9_][A-Za-z0-9_.@+-]*)*"),
    "a name, or several as a,b",
)
_GPUS = (
    re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*:)?[1-9]\d{0,3}"),
    "a number of 1 or more, or a kind and a number as a100:1",
)
_MEMORY = (re.compile(r"[1-9]\d{0,8}[KMGT]?"), "an amount as 16G or 4000M")
_TEXTS = {"partition": _NAMES, "account": _NAME, "qos": _NAME, "gpus": _GPUS, "mem": _MEMORY}
_MOST_CPUS = 4096
_LONGEST_SECONDS = 366 * 86400.0


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """What a job asks of SLURM; None: what the cluster gives by itself.

    Raises:
        RequestError: a word that SLURM does not allow there.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    time: float | None = None  # seconds, after which the job is put back into the queue
    cpus: int | None = None  # and torch's threads; None: as many as the study's runs have here
    gpus: str | None = None
    mem: str | None = None

    def __post_init__(self) -> None:
        for name, (pattern, wanted) in _TEXTS.items():
            text = getattr(self, name)
            if text is not None and not (isinstance(text, str) and pattern.fullmatch(text)):
                raise RequestError(f"--slurm-{name} {text!r}: give {wanted}")
        if self.cpus is not None and not 1 <= self.cpus <= _MOST_CPUS:
            raise RequestError(f"--slurm-cpus {self.cpus}: give a number from 1 to {_MOST_CPUS}")
        if self.time is not None and not 60 <= self.time <= _LONGEST_SECONDS:
            raise RequestError(
                f"--slurm-time {self.time:g} s: give 1m or more, a year at most: SLURM counts"
                " minutes"
            )

    @property
    def minutes(self) -> int | None:
        """Return the limit of a job as SLURM counts it."""
        return None if self.time is None else math.ceil(self.time / 60)


def slurm_options(parser: argparse.ArgumentParser) -> None:
    """Add what is asked of SLURM."""
    group = parser.add_argument_group("with --launch slurm")
    group.add_argument("--slurm-partition", metavar="NAME", help="one, or several as a,b")
    group.add_argument("--slurm-account", metavar="NAME")
    group.add_argument("--slurm-qos", metavar="NAME")
    group.add_argument(
        "--slurm-time",
        metavar="TIME",
        help="limit of a job, as 45m, 12h or 2d; a run that takes longer goes on in the next one",
    )
    group.add_argument("--slurm-cpus", type=int, metavar="N", help="of a run, and its threads")
    group.add_argument("--slurm-gpus", metavar="N", help="of a run, as 1 or a100:1")
    group.add_argument("--slurm-mem", metavar="SIZE", help="of a run, as 16G")


def slurm_of(
    arguments: argparse.Namespace, seconds_of: Callable[[str, str | None], float | None]
) -> Slurm:
    """Return what the command line asks of SLURM.

    Args:
        arguments: of the command line.
        seconds_of: reads a time.

    Raises:
        RequestError: they are not with `--launch slurm`, or `Slurm` says so.
    """
    given = {
        name: value
        for name in (*_TEXTS, "time", "cpus")
        if (value := getattr(arguments, f"slurm_{name}", None)) is not None
    }
    if given and arguments.launch != "slurm":
        raise RequestError(f"--slurm-{next(iter(given))} goes with --launch slurm")
    return Slurm(**given | {"time": seconds_of("--slurm-time", given.get("time"))})


def check_installed() -> None:
    """Look for what is needed to submit jobs, without importing it.

    Raises:
        RequestError: submitit or SLURM's commands are not there.
    """
    if find_spec("submitit") is None:
        raise RequestError(
            "--launch slurm needs submitit: pip install 'ablate-recipes[slurm]' (or pip install"
            " submitit)"
        )
    for name in ("sbatch", "squeue", "scancel", "scontrol", "srun"):
        if shutil.which(name) is None:
            raise RequestError(
                f"--launch slurm: there is no {name} here; start ablate where jobs are submitted"
            )


def check_home(home: Path) -> None:
    """Check that the path of a home can stand in a batch script.

    Raises:
        RequestError: it cannot.
    """
    # SLURM replaces % in the names of logs; a quote or line end would end the line that holds it.
    path = str(home.absolute())
    wrong = next((letter for letter in path if not letter.isprintable() or letter in "%\\'\""), "")
    if wrong:
        raise RequestError(
            f"--launch slurm: the path of the home, {path!r}, holds {wrong!r}, which cannot stand"
            " in a batch script; choose another with --home DIR"
        )
