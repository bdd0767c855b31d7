"""What a run is fed does not depend on what else is in its recipe, nor on how it is carried out.

Order, crops and augmentation are the same bits with or without squeeze-and-excitation and
stochastic depth, however many threads load, on one device or several, and after a resumption.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lightning_modules import ImageData, fit
from recipes import Recipe, edit, hook, parse, stack

RANDOM = {
    "data.crop": "random_resized",
    "data.crop_area": 0.3,
    "data.flip": True,
    "augment.randaug_layers": 2,
    "augment.randaug_magnitude": 8.0,
    "augment.randaug_space": "resnet_rs",
    "augment.randaug_pixel_scale": 0.0625,
}
STREAMED = {"data.stored_size": 0, "data.resolution": 20}
ARMS = ("", "se", "sd", "se,sd")


def arm(base: Recipe, add: str) -> Recipe:
    return stack(base, parse(add)) if add else base


def as_member(data: ImageData, rank: int, devices: int, epoch: int, done: int = 0) -> None:
    """Let a Trainer of Lightning stand there as far as a loader asks for it."""
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    progress = SimpleNamespace(current=SimpleNamespace(ready=done))
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        global_rank=rank,
        world_size=devices,
        current_epoch=epoch,
        strategy=strategy,
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
    )


def fed(
    recipe: Recipe,
    cache: Path,
    *,
    threads: int = 1,
    devices: int = 1,
    epochs: Iterable[int] = (0,),
    first: int = 0,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return images and labels of the global batches, put together from the devices' shares."""
    shares = []
    for rank in range(devices):
        data = ImageData(recipe, cache=cache, seed=3, threads=threads)
        data.setup()
        shares.append([])
        for epoch in epochs:
            as_member(data, rank, devices, epoch, first)
            for batch in data.train_dataloader():
                assert len(batch.images) == recipe.data.batch_size // devices
                ready = data.prepare(batch, epoch)
                shares[-1].append((ready.images, ready.targets))
    return [
        (torch.cat([one[0] for one in parts]), torch.cat([one[1] for one in parts]))
        for parts in zip(*shares, strict=True)
    ]


def same(mine, other) -> bool:
    return len(mine) == len(other) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(mine, other, strict=True)
    )


@pytest.mark.parametrize("stored", [{}, STREAMED], ids=["stored", "streamed"])
def test_what_is_fed_is_the_same_in_all_arms_by_any_threads_on_any_devices(
    tiny: Recipe, cache: Path, stored: dict[str, object]
) -> None:
    base = edit(tiny, RANDOM | stored)
    expected = fed(base, cache, epochs=(0, 1))
    assert not same(expected[:3], expected[3:])  # another epoch is another order
    for add in ARMS[1:]:
        assert same(fed(arm(base, add), cache, epochs=(0, 1)), expected), add
    for threads in (2, 4):  # with 1 the loader decodes by itself
        assert same(fed(base, cache, threads=threads, epochs=(0, 1)), expected), threads
    for devices in (2, 4):
        found = fed(arm(base, "se,sd"), cache, devices=devices, threads=4, epochs=(0, 1))
        assert same(found, expected), devices
    for devices in (1, 2):  # as a resumed run begins: in the middle of an epoch
        found = fed(arm(base, "sd"), cache, devices=devices, epochs=(1,), first=1)
        assert same(found, expected[4:]), devices


@pytest.mark.parametrize("devices", [2, 3, 7])
@pytest.mark.parametrize("part", ["minival", "validation"])
def test_every_image_is_evaluated_once(tiny: Recipe, cache: Path, devices: int, part: str) -> None:
    data = ImageData(tiny, cache=cache, seed=3)
    data.setup()

    def evaluated(rank: int, count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        as_member(data, rank, count, 0)
        loader = data.val_dataloader() if part == "minival" else data.test_dataloader()
        batches = list(loader)
        assert len(batches) == len(loader)
        assert sum(len(batch.images) for batch in batches) == loader.shares[rank]
        return [(batch.images, batch.targets) for batch in batches]

    whole = [torch.cat(one) for one in zip(*evaluated(0, 1), strict=True)]
    parts = [one for rank in range(devices) for one in evaluated(rank, devices)]
    found = [torch.cat(one) for one in zip(*parts, strict=True)]
    assert all(torch.equal(a, b) for a, b in zip(whole, found, strict=True))


NOTING = """
    import hashlib
    import pathlib

    import torch


    def note(images, targets, folder):
        alone = not torch.distributed.is_initialized()
        rank = 0 if alone else torch.distributed.get_rank()
        path = pathlib.Path(folder, str(rank))
        path.parent.mkdir(exist_ok=True)
        with path.open("a") as file:
            for image in images:
                file.write(hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest() + " ")
            file.write("\\n")
        stop = pathlib.Path(folder + " stop")
        if stop.exists() and len(path.read_text().splitlines()) == int(stop.read_text()):
            raise KeyboardInterrupt
        return images, targets
"""


def noted(folder: Path, devices: int) -> list[list[str]]:
    """Return the digests of every global batch's images."""
    rows = [(folder / str(rank)).read_text().splitlines() for rank in range(devices)]
    return [" ".join(parts).split() for parts in zip(*rows, strict=True)]


@pytest.mark.slow
def test_real_trainings_are_fed_the_same(tiny, on_cpu, tmp_path, user_module) -> None:
    mine = user_module("mine_noting", NOTING)
    base = edit(tiny, RANDOM | {"optim.epochs": 3})

    def run(name: str, add: str = "", **changes: object) -> list[list[str]]:
        noting = hook("batch", mine.note, folder=str(tmp_path / name))
        recipe = edit(arm(base, add), {"custom.note": noting})
        execution = replace(on_cpu, checkpoint_seconds=0.0, **changes)
        fit(recipe, 3, execution, tmp_path / f"{name} run")
        return noted(tmp_path / name, execution.devices)

    expected = run("alone")
    assert len(expected) == 9
    assert all(len(batch) == 32 for batch in expected)
    assert run("se,sd", "se,sd", threads=4) == expected
    two = {"devices": 2, "threads": 2}
    assert run("two", **two) == expected
    (tmp_path / "broken stop").write_text("5")  # in the second epoch of three
    with pytest.raises(KeyboardInterrupt):
        run("broken", "sd", **two)
    (tmp_path / "broken stop").unlink()
    before = noted((tmp_path / "broken").rename(tmp_path / "before"), 2)
    assert before == expected[: len(before)]
    after = run("broken", "sd", **two)
    assert len(after) < 9  # it went on
    assert after == expected[-len(after) :]
