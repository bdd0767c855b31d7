"""Runs with all their files, in a home, that nobody trained: to be damaged."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from ablations.ledger import Ledger, run_id
from lightning_modules.checkpoint_files import FOLDER
from lightning_modules.files import write_json
from recipes import Recipe, load

TINY = load("tiny")
SEEDS = {"done": 0, "twin": 1, "left": 2, "bad": 3}  # seeds, and what the runs are called here
RUNS = {name: run_id(TINY, "data", seed) for name, seed in SEEDS.items()}
TRAINING = "7" * 20


def record(ledger: Ledger, name: str, recipe: Recipe = TINY) -> Path:
    """Make up a finished run with all that runs keep."""
    run, seed = RUNS[name], SEEDS[name]
    folder = ledger.begin(run, recipe, seed, "digits", TRAINING)
    right = np.random.default_rng(seed).random(80) < 0.9
    np.savez_compressed(folder / "predictions.npz", predicted=np.arange(80), loss=right * 0.5)
    np.save(folder / "correct.npy", np.packbits(right))
    (folder / "metrics.jsonl").write_text('{"epoch": 1, "step": 3}\n')
    write_json(folder / "environment.json", {"schema_version": 1})
    (folder / "log.txt").write_text("trained\n")
    ledger.finish(run, "finished", result_of(name, float(right.mean())), "")
    return folder


def result_of(name: str, right: float = 0.5) -> dict[str, Any]:
    about = {"data_fingerprint": "data", "results_version": own_version(), "message": ""}
    return {"top1": 100 * right, "status": "finished", "seconds": 0.1 + SEEDS[name], **about}


def own_version() -> int:
    from lightning_modules.execution import RESULTS_VERSION

    return RESULTS_VERSION


def checkpoint(folder: Path, step: int) -> Path:
    content = f"state {step}".encode()
    path = folder / FOLDER / f"{step}.{hashlib.sha256(content).hexdigest()}.ckpt"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path
