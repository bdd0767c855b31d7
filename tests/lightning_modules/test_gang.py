"""One run on two processes: what one alone gives, and nothing left behind where one fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_modules import Execution, fit
from lightning_modules.checkpoint_files import FOLDER, checkpoints
from lightning_modules.gang import conduct
from lightning_modules.observers import TimedOut
from lightning_modules.reading import Reading
from lightning_modules.shares import check_divided, share
from lightning_modules.speed import fitting_batch
from lightning_modules.training import fit_together, train
from recipes import Recipe, RecipeError, edit, hook, linear

# What has a state of its own, but no dropout: that is drawn anew on every device.
RICH = {
    "optim.epochs": 3,
    "optim.warmup_epochs": 1.0,
    "optim.ema_decay": 0.9,
    "optim.ema_warmup": True,
    "optim.grad_clip": 1.0,
    "optim.lr": 0.1,
    "optim.weight_decay": linear(1e-3, 1e-5),
    "model.bn_momentum": 1.0,
    "augment.randaug_layers": 1,
    "augment.randaug_space": "timm",
    "augment.randaug_magnitude": linear(2.0, 9.0),
    "evaluate.weights": "ema",
}
# Nothing moves: the initial network is evaluated.
STILL = {"optim.lr": 1e-30, "model.bn_momentum": 1e-30}


def two(on_cpu: Execution, **changes: object) -> Execution:
    return replace(on_cpu, devices=2, threads=2, **changes)


def written(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {
        "curve": [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()],
        "correct": np.load(folder / "correct.npy").tobytes(),
        "minival": np.load(folder / "minival_correct.npy").tobytes(),
    }
    with np.load(folder / "predictions.npz") as stored:
        found |= {name: stored[name].tobytes() for name in stored}
    weights = torch.load(folder / "weights.pt", weights_only=True)
    return found | {name: tensor.numpy().tobytes() for name, tensor in weights.items()}


@pytest.mark.parametrize("devices", [1, 2, 3, 7])
def test_shares_are_neighbours_and_differ_by_one(devices: int) -> None:
    for count in range(30):
        shares = [share(count, rank, devices) for rank in range(devices)]
        assert [one for part in shares for one in part] == list(range(count))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_batch_that_cannot_be_divided_is_refused_before_anything_starts(
    tiny, on_cpu, tmp_path
) -> None:
    with pytest.raises(RecipeError, match="data.batch_size = 32 cannot be .* over 3 devices: use"):
        fit(tiny, 0, replace(on_cpu, devices=3), tmp_path)
    divided = edit(tiny, {"optim.bn_batch": 16})
    with pytest.raises(RecipeError, match="bn_batch = 16 does not divide the 8 images that each"):
        fit(divided, 0, replace(on_cpu, devices=4), tmp_path)
    check_divided(divided, 2)
    assert not list(tmp_path.iterdir())


def test_a_smaller_batch_that_is_tried_can_be_divided_too(tiny, on_cpu) -> None:
    divided = edit(tiny, {"optim.bn_batch": 16})
    assert fitting_batch(divided, two(on_cpu)) == (16, [16])
    assert fitting_batch(edit(tiny, {"data.batch_size": 6}), two(on_cpu)) == (None, [])  # 1 each


@pytest.mark.slow
@pytest.mark.parametrize("per_norm", [0, 16, 8], ids=["all devices", "own share", "parts of it"])
def test_two_devices_train_what_one_does(
    tiny: Recipe, on_cpu: Execution, tmp_path: Path, per_norm: int
) -> None:
    recipe = edit(tiny, RICH | {"optim.bn_batch": per_norm})
    one = fit(recipe, 1, replace(on_cpu, keep="ema"), tmp_path / "one")
    other = fit(recipe, 1, two(on_cpu, keep="ema"), tmp_path / "two")
    assert (one.devices, other.devices) == (1, 2)
    assert one.steps == other.steps == 9
    weights, others = (torch.load(tmp_path / name / "weights.pt") for name in ("one", "two"))
    for name, tensor in weights.items():
        torch.testing.assert_close(others[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
    curves = [written(tmp_path / name)["curve"] for name in ("one", "two")]
    for mine, theirs in zip(*curves, strict=True):
        assert set(mine) == set(theirs)
        for name in ("train/loss", "val/loss_ema", "val/loss_raw"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4)
    assert one.loss == pytest.approx(other.loss, rel=1e-4)
    assert one.evaluated_images == other.evaluated_images


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("per_norm", [0, 16], ids=["all devices", "own share"])
def test_two_gpus_train_what_one_does(
    tiny: Recipe, on_cpu: Execution, tmp_path: Path, per_norm: int
) -> None:
    recipe, gpu = edit(tiny, {"optim.bn_batch": per_norm}), replace(on_cpu, device="cuda:0")
    one = fit(recipe, 1, gpu, tmp_path / "one")
    other = fit(recipe, 1, replace(gpu, devices=2), tmp_path / "two")
    assert one.loss == pytest.approx(other.loss, rel=1e-3)  # after three steps


@pytest.mark.slow
def test_metrics_of_the_same_weights_are_the_same_counts(tiny, on_cpu, tmp_path) -> None:
    recipe = edit(tiny, STILL | {"optim.bn_batch": 16})
    one = fit(recipe, 1, replace(on_cpu, keep="last"), tmp_path / "one")
    other = fit(recipe, 1, two(on_cpu, keep="last"), tmp_path / "two")
    mine, theirs = written(tmp_path / "one"), written(tmp_path / "two")
    for name in ("predicted", "correct", "minival", "fc.weight", "bn1.running_var"):
        assert mine[name] == theirs[name], name
    assert (one.top1, one.minival_top1) == (other.top1, other.minival_top1)
    assert mine["curve"][0]["val/top1"] == theirs["curve"][0]["val/top1"]
    assert one.loss == pytest.approx(other.loss, rel=1e-6)


STOPPING = """
    import os
    import pathlib
    import signal

    import torch

    seen = []


    def stop(images, targets, flag, at, rank, by):
        seen.append(1)
        folder = pathlib.Path(flag)
        mine = torch.distributed.get_rank()
        (folder / f"pid {mine}").write_text(str(os.getpid()))
        if (folder / "flag").exists() and len(seen) == at and mine == rank:
            if by == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if by == "hang":
                signal.pause()
            raise {"error": ValueError("told so"), "stop": KeyboardInterrupt()}[by]
        return images, targets
"""


def stopping(recipe: Recipe, mine, folder: Path, by: str, rank: int = 1, at: int = 5) -> Recipe:
    stop = hook("batch", mine.stop, flag=str(folder), at=at, rank=rank, by=by)
    return edit(recipe, {"custom.stop": stop})


def pids(folder: Path) -> list[int]:
    return [int(path.read_text()) for path in sorted(folder.glob("pid *"))]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("by", "kind", "words"),
    [
        ("kill", RuntimeError, "process {} of the 2 of this run died .killed, perhaps for want"),
        ("error", ValueError, "told so"),
    ],
)
def test_one_that_fails_ends_all_with_its_own_words(
    tiny, on_cpu, tmp_path, user_module, by, kind, words, rank
) -> None:
    mine = user_module("mine_failing", STOPPING)
    (tmp_path / "flag").touch()
    recipe = stopping(edit(tiny, {"optim.epochs": 3}), mine, tmp_path, by, rank)
    began = time.monotonic()
    with pytest.raises(kind, match=words.format(rank + 1)):
        fit(recipe, 0, two(on_cpu), tmp_path / "run")
    assert time.monotonic() - began < 60
    assert len(pids(tmp_path)) == 2
    assert not any(alive(pid) for pid in pids(tmp_path))


@pytest.mark.slow
def test_one_that_hangs_is_not_waited_for_without_end(tiny, on_cpu, tmp_path, user_module) -> None:
    mine = user_module("mine_hanging", STOPPING)
    (tmp_path / "flag").touch()
    recipe = stopping(edit(tiny, {"optim.epochs": 3}), mine, tmp_path, "hang")
    readings = [Reading(recipe=recipe, folder=tmp_path / "run")]
    with pytest.raises(RuntimeError, match="process 1 of the 2 of this run waited 4 s for another"):
        conduct(train, readings, 0, two(on_cpu), tmp_path / "run", timedelta(seconds=4))
    assert not any(alive(pid) for pid in pids(tmp_path))


@pytest.mark.slow
def test_a_time_limit_holds_for_all_and_the_run_goes_on(tiny, on_cpu, tmp_path) -> None:
    recipe = edit(tiny, {"optim.epochs": 90_000, "optim.bn_batch": 16})
    steps = [0]
    for _ in range(2):
        with pytest.raises(TimedOut, match="its 20 s were over after") as caught:
            fit(recipe, 0, two(on_cpu, time_limit=20.0), tmp_path)
        steps.append(int(str(caught.value).split()[-4]))
        assert checkpoints(tmp_path / FOLDER)[0].step == steps[-1]
    assert steps == sorted(set(steps))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch", "at", "last"),
    [(32, 8, 6), (4, 46, 43)],
    ids=["after an epoch", "in an epoch"],  # of 3 or 27 batches; all ask each other every 16
)
def test_an_interrupted_run_goes_on_and_all_have_one_average(
    tiny, on_cpu, tmp_path, user_module, batch, at, last
) -> None:
    mine = user_module("mine_interrupted", STOPPING)
    own = {"model.dropout": 0.2, "model.drop_path": 0.1, "model.drop_path_rule": "stage"}
    own |= {"data.batch_size": batch, "optim.bn_batch": batch // 2}
    rich = edit(tiny, RICH | own)
    recipe = stopping(rich, mine, tmp_path, "stop", at=at)
    plain = edit(recipe, {"optim.ema_decay": 0.0, "evaluate.weights": "raw"})
    saving = two(on_cpu, checkpoint_seconds=0.0)

    def readings(name: str) -> list[Reading]:
        folder = tmp_path / name
        return [
            Reading(recipe=recipe, folder=folder / "average", keep="ema"),
            Reading(recipe=plain, folder=folder / "plain", keep="last"),
        ]

    fit_together(readings("whole"), 1, saving, tmp_path / "whole/training")
    (tmp_path / "flag").touch()
    with pytest.raises(KeyboardInterrupt):
        fit_together(readings("broken"), 1, saving, tmp_path / "broken/training")
    assert not any(alive(pid) for pid in pids(tmp_path))
    assert checkpoints(tmp_path / "broken/training/checkpoint")[0].step == last
    (tmp_path / "flag").unlink()
    results = fit_together(readings("broken"), 1, saving, tmp_path / "broken/training")
    assert [one.status for one in results] == ["finished", "finished"]
    for name in ("average", "plain"):
        assert written(tmp_path / "broken" / name) == written(tmp_path / "whole" / name), name


UNGUARDED = """
    from pathlib import Path

    import recipes
    from lightning_modules import Execution, fit

    fit(recipes.load("tiny"), 0, Execution(device="cpu", devices=2), Path("run"))
"""


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_what_it_lacks(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(UNGUARDED))
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith(
            "RuntimeError: a process of this run could not start; what it said stands above."
        )
    )


SCRIPT = """
    import sys
    from pathlib import Path

    sys.path.insert(0, sys.argv[1])
    import mine_orphans
    import recipes
    from lightning_modules import Execution, fit
    from recipes import edit, hook

    if __name__ == "__main__":
        folder = Path(sys.argv[2])
        stop = hook("batch", mine_orphans.stop, flag=str(folder), at=2, rank=1, by="hang")
        recipe = edit(recipes.load("tiny"), {"custom.stop": stop})
        fit(recipe, 0, Execution(device="cpu", devices=2, threads=2), folder / "run")
"""


@pytest.mark.slow
def test_nobody_outlives_the_process_that_started_them(tmp_path: Path) -> None:
    """Not even where one hangs, and the other waits for it."""
    (tmp_path / "mine_orphans.py").write_text(textwrap.dedent(STOPPING))
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    (tmp_path / "flag").touch()
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path), str(tmp_path)])
    deadline = time.monotonic() + 120
    while len(pids(tmp_path)) < 2 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.2)
    time.sleep(2.0)
    assert all(alive(pid) for pid in pids(tmp_path))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in pids(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in pids(tmp_path))
