import io
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules import Progress, fit
from lightning_modules.checkpoint_files import checkpoints, newest
from lightning_modules.checkpoints import save, save_into
from lightning_modules.observers import curve_rows
from recipes import edit


def kept(folder: Path) -> list[int]:
    return [one.step for one in checkpoints(folder)]


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (3, 9, 12):
        path = save(tmp_path, step, {"step": step})
    assert kept(tmp_path) == [12, 9]
    assert torch.load(path, weights_only=True) == {"step": 12}
    assert all(one.is_whole() for one in checkpoints(tmp_path))


@pytest.mark.parametrize("at", [1, 2, 5, 9])
def test_what_stops_the_writing_of_a_checkpoint_comes_out_as_itself(at: int) -> None:
    class Stops(io.BytesIO):
        calls = 0

        def write(self, data: Any) -> int:
            self.calls += 1
            if self.calls == at:
                raise KeyboardInterrupt
            return super().write(data)

    with pytest.raises(KeyboardInterrupt):
        save_into(Stops(), {"weights": torch.zeros(100_000), "step": 1})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_told_as_that() -> None:
    with (
        pytest.raises(OSError, match="No space left on device"),
        open("/dev/full", "wb", buffering=0) as file,
    ):
        save_into(file, {"weights": torch.zeros(100_000)})


@pytest.fixture
def two(tiny, tmp_path: Path) -> Path:
    """Return a folder of the recipe's with checkpoints of steps 1 and 2."""
    newest(tmp_path, [tiny])  # takes the folder
    for step in (1, 2):
        save(tmp_path, step, {"weights": torch.full((100,), float(step))})
    return tmp_path


def test_a_cut_or_changed_checkpoint_falls_back_to_the_one_before_and_says_so(
    tiny, two: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last, before = checkpoints(two)
    whole = last.path.read_bytes()
    assert newest(two, [tiny]) == last.path
    cut = [whole[:size] for size in range(0, len(whole), 97)]
    flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in (0, 500, -2)]
    for damaged in [*cut, *flipped, whole + b"\0"]:
        last.path.write_bytes(damaged)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert newest(two, [tiny]) == before.path
        assert "the checkpoint of step 2 is damaged" in caplog.text
        assert kept(two) == [1]  # else it would stand in the way of the next ones
    before.path.write_bytes(b"")
    assert newest(two, [tiny]) is None


def test_what_a_killed_writer_left_is_removed(tiny, two: Path) -> None:
    (two / ".new.ckpt.0123456789abcdef0123456789abcdef").write_bytes(b"half")
    (two / "new.ckpt").write_bytes(b"whole, but without its name")
    last, before = checkpoints(two)
    assert newest(two, [tiny]) == last.path
    assert set(two.iterdir()) == {last.path, before.path, two / "readings.json"}


def test_checkpoints_of_another_recipe_or_of_none_are_forgotten(tiny, two: Path) -> None:
    assert newest(two, [tiny, edit(tiny, {"optim.ema_decay": 0.9})]) is None
    assert kept(two) == []
    save(two, 1, {})
    (two / "readings.json").write_text("{")
    assert newest(two, [tiny]) is None


def test_checkpoints_come_after_so_many_epochs_whatever_the_time(tiny, on_cpu, tmp_path) -> None:
    """Of 4 epochs of 3 steps: after the second, and not after the last."""
    steps: list[int] = []

    def look(progress: Progress) -> None:
        steps.extend(one.step for one in checkpoints(tmp_path / "checkpoint"))

    recipe = edit(tiny, {"optim.epochs": 4})
    execution = replace(on_cpu, checkpoint_seconds=1e9, checkpoint_epochs=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.monotonic", iter(range(10**6)).__next__)  # told at every step
        fit(recipe, 0, replace(execution, on_progress=look), tmp_path)
    assert set(steps) == {6}


class _StopError(Exception):
    pass


def test_a_run_with_a_damaged_checkpoint_ends_as_an_undisturbed_one(tiny, on_cpu, tmp_path) -> None:
    recipe = edit(tiny, {"optim.epochs": 2, "optim.ema_decay": 0.9})
    wanted = fit(recipe, 0, on_cpu, tmp_path / "whole")
    told: list[int] = []

    def stop(progress: Progress) -> None:
        told.append(progress.step)
        if progress.step > 3:
            raise _StopError

    saving = replace(on_cpu, checkpoint_seconds=0.0)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(_StopError):
        patch.setattr("time.monotonic", iter(range(10**6)).__next__)  # a second at every look
        fit(recipe, 0, replace(saving, on_progress=stop), tmp_path / "run")
    last, before = checkpoints(tmp_path / "run/checkpoint")
    assert (last.step, before.step) == (3, 2)
    last.path.write_bytes(last.path.read_bytes()[:-100])
    found = fit(recipe, 0, saving, tmp_path / "run")
    assert (found.top1, found.loss, found.steps) == (wanted.top1, wanted.loss, wanted.steps)
    curve, whole = (tmp_path / name / "metrics.jsonl" for name in ("run", "whole"))
    assert curve.read_text() == whole.read_text()


def test_what_another_process_adds_to_a_curve_does_not_stay(tiny, on_cpu, tmp_path: Path) -> None:
    curve = tmp_path / "metrics.jsonl"

    def add(progress: Progress) -> None:
        with curve.open("a") as file:
            file.write('{"epoch": 9}\n')

    recipe = edit(tiny, {"optim.epochs": 2})
    fit(recipe, 0, replace(on_cpu, on_progress=add), tmp_path)
    assert [row["epoch"] for row in curve_rows(curve)] == [1, 2]
