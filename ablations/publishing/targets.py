"""Where the runs of a study are shown, as `--track` has it. Loads no tracker."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from ablations.errors import RequestError
from ablations.ledger import Ledger
from ablations.names import checked_study
from lightning_modules.tracking import TRACKERS, WandbPlace, wandb_asked
from recipes.leaf import nearest

_MODES = ("online", "offline", "disabled", "dryrun", "run", "shared")  # the client's own
PROJECT = "ablate"  # of W&B, where no other is asked for


@dataclass(frozen=True, kw_only=True)
class Target:
    """A tracker, and where in it."""

    tracker: str  # wandb, tensorboard or csv
    place: WandbPlace | None = None  # of wandb

    @property
    def key(self) -> str:
        """Return what names the target in a study's journal."""
        if self.place is None:
            return self.tracker
        server = os.environ.get("WANDB_BASE_URL", "").rstrip("/")
        return f"wandb {server} {self.place.entity or ''}/{self.place.project}"


def trackers_of(text: str, option: str = "--track") -> tuple[str, ...]:
    """Return the trackers that a text names, as `wandb,csv`; none of them for `none`.

    Raises:
        RequestError: one is not known.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if names == ("none",):
        return ()
    for name in names:
        if name not in TRACKERS:
            known = (*TRACKERS, "none")
            raise RequestError(
                f"{option} {text!r}: choose from {', '.join(known)}, or several as wandb,csv"
                f"{nearest(name, known)}"
            )
    return names


def targets_of(track: str, project: str | None, entity: str | None) -> tuple[Target, ...]:
    """Return the targets of `--track`, `--wandb-project` and `--wandb-entity`.

    Raises:
        RequestError: a tracker is not known, or not installed.
    """
    names = trackers_of(track)
    if "tensorboard" in names and importlib.util.find_spec("tensorboard") is None:
        raise RequestError(
            "--track tensorboard needs TensorBoard: pip install 'ablate-recipes[tensorboard]'"
            " (or pip install tensorboard)"
        )
    mode = os.environ.get("WANDB_MODE", "")
    if "wandb" in names and mode and mode.lower() not in _MODES:
        raise RequestError(f"WANDB_MODE={mode!r}: choose {', '.join(_MODES)}, or unset it")
    if wandb_asked()[0] == "disabled":
        names = tuple(name for name in names if name != "wandb")
    place = WandbPlace(project=project or PROJECT, entity=entity)
    return tuple(Target(tracker=name, place=place if name == "wandb" else None) for name in names)


def counted(runs: int) -> str:
    """Return a number of runs in words."""
    return f"{runs} run{'' if runs == 1 else 's'}"


def folder_of(ledger: Ledger, study: str) -> Path:
    """Return the folder of what is known about the published runs of a study.

    Raises:
        RequestError: the name could leave the home.
    """
    return ledger.home / "tracking" / "studies" / checked_study(study)
