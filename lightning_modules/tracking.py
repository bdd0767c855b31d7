"""Runs in W&B, through Lightning's WandbLogger. The only file that imports wandb."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from lightning_modules.execution import Tracking


def open_logger(tracking: Tracking | None) -> Any:
    """Return Lightning's WandbLogger for a run, or None for no tracking.

    Offline unless a project is set (here or by `WANDB_PROJECT`); `WANDB_MODE` and the client's
    other variables win. Files, artifact staging and caches stay in the tracking folder.
    """
    if tracking is None or os.environ.get("WANDB_MODE") == "disabled":
        return None
    tracking.folder.mkdir(parents=True, exist_ok=True)
    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        os.environ.setdefault(variable, str(tracking.folder))
    os.environ.setdefault("WANDB_SILENT", "true")

    import wandb
    from pytorch_lightning.loggers import WandbLogger

    project = tracking.project or os.environ.get("WANDB_PROJECT")
    mode = os.environ.get("WANDB_MODE") or ("online" if project else "offline")

    class Logger(WandbLogger):
        """Lightning's, which lets no failure of the client into the training."""

        def log_metrics(self, *arguments: Any, **named: Any) -> None:
            with _told("logging"):
                super().log_metrics(*arguments, **named)

        def finalize(self, status: str) -> None:
            with _told("closing"):
                super().finalize(status)

    return Logger(
        project=project or "ablate",
        entity=tracking.entity,
        name=tracking.name,
        id=tracking.run_id,
        resume="allow",
        group=tracking.group,
        job_type=tracking.job_type,
        tags=list(tracking.tags),
        config=dict(tracking.config),
        save_dir=str(tracking.folder),
        mode=mode,
        settings=wandb.Settings(console="off", x_disable_stats=True),
    )


@contextlib.contextmanager
def tracked(tracking: Tracking | None) -> Iterator[Any]:
    """Give a logger to a block and finish its W&B run when the block ends, failed or not.

    Tracking never fails a run: what goes wrong with it is printed (into the run's log), and the
    run goes on without.
    """
    logger: Any = None
    with _told("opening"):
        made = open_logger(tracking)
        if made is not None:
            _ = made.experiment  # the client starts now, or fails before there is a training
            logger = made
    failed = True
    try:
        yield logger
        failed = False
    finally:
        if logger is not None:
            import wandb

            with _told("closing"):
                wandb.finish(exit_code=int(failed))


def record_result(logger: Any, numbers: Mapping[str, Any]) -> None:
    """Write the final numbers that there are into the summary, as `result/<name>`."""
    known = {f"result/{name}": value for name, value in numbers.items() if value is not None}
    with _told("writing the result"):
        logger.experiment.summary.update(known)


def can_track(project: str | None) -> bool:
    """Return whether runs stay offline, or the client has a key for its server.

    Loads wandb (a second) only where the environment does not answer. Asks no server.
    """
    online = project or os.environ.get("WANDB_PROJECT") or "WANDB_MODE" in os.environ
    if not online or os.environ.get("WANDB_MODE", "online") != "online":
        return True
    if os.environ.get("WANDB_API_KEY"):
        return True
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    return wandb.login(prompt=False, verify=False)


@contextlib.contextmanager
def _told(doing: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        print(f"tracking: {doing} failed; the run goes on without it", flush=True)
        print(traceback.format_exc(), flush=True)
