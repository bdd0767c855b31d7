"""Runs in W&B, through Lightning's WandbLogger. The only file that imports wandb."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
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
    logger = WandbLogger(
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
    return logger


@contextlib.contextmanager
def closed_logger(logger: Any) -> Iterator[Any]:
    """Give the logger to a block and finish its W&B run when the block ends, failed or not."""
    failed = True
    try:
        yield logger
        failed = False
    finally:
        if logger is not None:
            import wandb

            wandb.finish(exit_code=int(failed))
