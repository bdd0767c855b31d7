"""What the parsed words ask for: the request, how it is carried out, and personal defaults."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
from pathlib import Path
from typing import Any

from ablations.errors import RequestError
from ablations.launch.ray_options import RayOptions
from ablations.launch.slurm_options import slurm_of
from ablations.plans import FAILED
from ablations.publishing.targets import targets_of, trackers_of
from ablations.request import Request, from_plain
from recipes.leaf import nearest

_HOME = "ablate-home"
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_CONFIG = "~/.config/ablate.yaml"
_REQUEST_KEYS = tuple(entry.name for entry in dataclasses.fields(Request))
_STUDY_KEYS = (
    "base, add and, where wanted,"
    f" {', '.join(key for key in _REQUEST_KEYS if key not in ('base', 'add'))}"
)
_CONFIG_KEYS = ("home", "data", "track", "wandb_project", "wandb_entity")


def request_of(arguments: argparse.Namespace) -> Request:
    """Return the request of the command line, over that of a file where one is named."""
    tree: dict[str, Any] = {}
    if arguments.file:
        from recipes.yaml import read_text, read_tree

        path = Path(arguments.file)
        tree = from_plain(read_tree(read_text(path), str(path), _STUDY_KEYS), str(path)).plain()
    config = _config()
    if tree.get("data") is None and "data" in config:
        tree["data"] = config["data"]
    for key in _REQUEST_KEYS:
        value = getattr(arguments, key)
        if value is not None:
            tree[key] = value
    missing = [f"--{key}" for key in ("base", "add") if key not in tree]
    if missing:
        raise RequestError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing, as in"
            " ablate --base tiny --add ls,se"
        )
    return from_plain(tree, "the request")


def options_of(arguments: argparse.Namespace) -> Any:
    """Return how the request is carried out: options first, then the personal defaults."""
    from ablations.study import Options

    config = _config()
    project, entity = wandb_of(arguments)
    track = arguments.track if arguments.track is not None else config.get("track", "wandb")
    targets_of(track, project, entity)  # refused before anything is planned
    every = seconds_of("--checkpoint-every", arguments.checkpoint_every)
    epochs = arguments.checkpoint_epochs
    if epochs is not None and epochs < 1:
        raise RequestError(f"--checkpoint-epochs {epochs}: give 1 or more")
    return Options(
        launch=arguments.launch,
        ray=_ray(arguments),
        slurm=slurm_of(arguments, seconds_of),
        device=arguments.device,
        devices=arguments.devices,
        slots=arguments.slots,
        compile=arguments.compile,
        deterministic=arguments.deterministic,
        keep=arguments.keep,
        retry=retried(arguments.retry),
        fail_fast=arguments.fail_fast,
        time_limit=seconds_of("--time-limit", arguments.time_limit),
        checkpoint_epochs=epochs,
        **({} if every is None else {"checkpoint_seconds": every}),
        track=track,
        wandb_project=project,
        wandb_entity=entity,
    )


def _ray(arguments: argparse.Namespace) -> RayOptions:
    given = {
        "address": arguments.ray_address,
        "cpus": arguments.ray_cpus,
        "gpus": arguments.ray_gpus,
    }
    for name, value in given.items():
        if arguments.launch != "ray" and value is not None:
            raise RequestError(f"--ray-{name} goes with --launch ray, not {arguments.launch}")
    return RayOptions(**given)


def retried(text: str | None) -> tuple[str, ...]:
    """Return the statuses that `--retry` names; `all` are those of every failure.

    Raises:
        RequestError: one of them is none.
    """
    if text is None:
        return ()
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in ("all", *FAILED):
            known = ", ".join(("all", *FAILED))
            raise RequestError(
                f"--retry {text!r}: choose from {known}, or several as"
                f" failed,timed_out{nearest(name, ('all', *FAILED))}"
            )
    return FAILED if "all" in names else names


def seconds_of(option: str, text: str | None) -> float | None:
    """Return the seconds of a time such as 90s, 45m, 12h or 2d; a plain number is seconds.

    Raises:
        RequestError: it is no time above 0.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    seconds = float(found[1]) * _UNITS[found[2] or "s"] if found else 0.0
    if not 0 < seconds < float("inf"):
        raise RequestError(
            f"{option} {text!r}: give a time above 0, as 90s, 45m, 12h or 2d; 90 is 90s"
        )
    return seconds


def wandb_of(arguments: argparse.Namespace) -> tuple[str | None, str | None]:
    """Return project and entity of W&B: options, the client's variables, personal defaults."""
    config = _config()
    project = _wandb(arguments.wandb_project, "WANDB_PROJECT", config)
    return project, _wandb(arguments.wandb_entity, "WANDB_ENTITY", config)


def _wandb(given: str | None, variable: str, config: dict[str, Any]) -> str | None:
    """Return the option, else the client's own variable, else the personal default."""
    return given or os.environ.get(variable) or config.get(variable.lower())


def _config() -> dict[str, Any]:
    """Return the personal defaults of `~/.config/ablate.yaml`; empty where there are none."""
    try:
        path = Path(_CONFIG).expanduser()
    except RuntimeError:  # a user without a home folder
        return {}
    if not path.exists():
        return {}
    from recipes.yaml import read_text, read_tree

    text = read_text(path)
    if all(not line.strip() or line.lstrip().startswith("#") for line in text.splitlines()):
        return {}
    tree = read_tree(text, str(path), ", ".join(_CONFIG_KEYS))
    wrong = [
        f"unknown {key!r}{nearest(key, _CONFIG_KEYS)}" for key in tree if key not in _CONFIG_KEYS
    ]
    wrong += [
        f"{key} = {value!r} is not a text"
        for key, value in tree.items()
        if key in _CONFIG_KEYS and not isinstance(value, str)
    ]
    if isinstance(tree.get("track"), str):
        try:
            trackers_of(tree["track"], "track =")
        except RequestError as error:
            wrong.append(str(error))
    if wrong:
        raise RequestError(f"{path}: {'; '.join(wrong)}; it may hold {', '.join(_CONFIG_KEYS)}")
    return tree


def home_of(arguments: argparse.Namespace) -> Path:
    """Return the folder of runs and studies.

    Raises:
        RequestError: it is empty, or of a user that there is not.
    """
    given = arguments.home if arguments.home is not None else _config().get("home", _HOME)
    if not given:
        raise RequestError("--home '': give a folder")
    home = Path(given)
    try:
        return home.expanduser()
    except RuntimeError:
        raise RequestError(f"--home {str(home)!r}: there is no such user") from None


def check_execution(arguments: argparse.Namespace) -> None:
    """Check what can be known of devices and slots before a plan is made."""
    from ablations.runner import check_options

    check_options(arguments.launch, arguments.devices, arguments.slots, arguments.device)


def check_format(form: str) -> None:
    """Check that a report can be made in this format."""
    from ablations.report import FORMATS

    if form not in FORMATS:
        hint = nearest(form, FORMATS)
        raise RequestError(f"--format {form!r}: choose from {', '.join(FORMATS)}{hint}")


def check_rope(rope: float | None) -> None:
    """Check that the largest difference that counts as none is a positive number."""
    if rope is not None and not 0 < rope < float("inf"):
        raise RequestError(f"--rope {rope:g}: give accuracy points above 0")
