"""What counts as waiting for images, on a CPU's clock and on the events of a device."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from lightning_modules import Classifier, ImageData, fit
from lightning_modules.checkpoint_files import checkpoints
from lightning_modules.waiting import Waiting
from recipes import edit, hook
from tests.lightning_modules.conftest import plain_trainer

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*smaller than the logging interval"
)

SLEEP = 0.05  # seconds; time.sleep never takes less
SLOW = f"""
    import time

    def batch(images, targets):
        time.sleep({SLEEP})
        return images, targets

    def loss(logits, targets):
        time.sleep({SLEEP})
        return logits.square().mean()
"""


def test_time_in_which_the_batch_is_made_is_waiting(tiny, on_cpu, tmp_path, user_module):
    mine = user_module("mine_slow_batch", SLOW)
    result = fit(edit(tiny, {"custom.slow": hook("batch", mine.batch)}), 0, on_cpu, tmp_path)
    assert result.steps == 3
    assert 3 * SLEEP <= result.data_seconds <= result.train_seconds


def test_time_in_the_step_is_not(tiny, on_cpu, tmp_path, user_module):
    mine = user_module("mine_slow_loss", SLOW)
    result = fit(edit(tiny, {"custom.slow": hook("loss", mine.loss)}), 0, on_cpu, tmp_path)
    assert 0 < result.data_seconds <= result.train_seconds - 3 * SLEEP


def test_streamed_images_are_waited_for_too(tiny, on_cpu, tmp_path):
    recipe = edit(tiny, {"data.stored_size": 0, "optim.epochs": 2})
    result = fit(recipe, 0, on_cpu, tmp_path)
    assert 0 < result.data_seconds <= result.train_seconds


@pytest.mark.parametrize("stored", [8, 0])
def test_training_batches_are_asked_for_once_and_no_others(tiny, on_cpu, stored):
    asked, started = [], []

    class Started(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            started.append(len(asked))

    recipe = edit(tiny, {"data.stored_size": stored})
    data = ImageData(recipe, cache=on_cpu.cache, on_request=lambda: asked.append(1))
    trainer = plain_trainer(Started())
    module = Classifier(recipe)
    trainer.fit(module, data)
    trainer.test(module, data, verbose=False)
    assert started == [1, 2, 3, 4, 5, 6]
    assert len(asked) == 6


def test_a_resumed_run_goes_on_counting(tiny, on_cpu, tmp_path, user_module):
    mine = user_module(
        "mine_slow_then_stop",
        SLOW
        + """
    seen = []

    def stop(images, targets, at):
        seen.append(1)
        if len(seen) == at:
            raise KeyboardInterrupt
        return batch(images, targets)
""",
    )
    stop = hook("batch", mine.stop, at=5)
    recipe = edit(tiny, {"optim.epochs": 3, "custom.stop": stop})
    execution = replace(on_cpu, checkpoint_seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, 0, execution, tmp_path)
    saved = torch.load(checkpoints(tmp_path / "checkpoint")[0].path, weights_only=True)["callbacks"]
    assert 3 * SLEEP <= saved["Waiting"]["seconds"] <= saved["Curves"]["seconds"]
    result = fit(recipe, 0, execution, tmp_path)
    # The epoch that was saved, and the two after it; not the one that was lost.
    assert result.data_seconds >= saved["Waiting"]["seconds"] + 6 * SLEEP
    assert result.data_seconds <= result.train_seconds


def test_a_device_whose_clock_is_not_known_gives_no_number():
    waiting = Waiting(torch.device("meta"))
    waiting.ask()
    assert waiting.seconds is None
    assert waiting.state_dict() == {"seconds": 0.0}


def test_a_loader_that_does_not_say_when_it_is_asked_counts_for_nothing():
    waiting = Waiting(torch.device("cpu"))
    waiting.on_train_batch_start(None, None, None, 0)
    assert waiting.seconds == 0.0


# The device -------------------------------------------------------------------------------------


class Stream:
    """A device that has got as far as `reached`; its events are stamped in the order of work."""

    def __init__(self) -> None:
        self.stamps: list[float] = []
        self.reached = 0

    def event(self, enable_timing: bool):
        assert enable_timing
        place = len(self.stamps)

        def elapsed_time(other) -> float:
            assert other.place < self.reached, "asked for an event that the device has not reached"
            return self.stamps[other.place] - self.stamps[place]

        def synchronize() -> None:
            self.reached = max(self.reached, place + 1)

        return SimpleNamespace(
            place=place,
            record=lambda: None,
            query=lambda: place < self.reached,
            elapsed_time=elapsed_time,
            synchronize=synchronize,
        )


def test_on_a_gpu_its_own_events_are_read_once_it_has_reached_them(monkeypatch):
    stream = Stream()

    def event(enable_timing: bool):
        made = stream.event(enable_timing)
        stream.stamps.append(next(stamps))
        return made

    # Milliseconds on the device: asked and there, three times.
    stamps = iter([0.0, 40.0, 100.0, 101.0, 200.0, 230.0])
    monkeypatch.setattr(torch.cuda, "Event", event)
    waiting = Waiting(torch.device("cuda"))
    for step in range(3):
        waiting.ask()
        waiting.on_train_batch_start(None, None, None, step)
        stream.reached = 2 * step  # two steps' events behind the processor
    assert len(waiting._ahead) == 2
    assert waiting.seconds == pytest.approx(0.071)
    assert not waiting._ahead


@pytest.mark.gpu
def test_a_gpu_that_is_busy_does_not_wait_for_images():
    device = torch.device("cuda")
    numbers = torch.rand(4096, 4096, device=device)
    waiting = Waiting(device)
    began = time.perf_counter()
    for step in range(5):
        for _ in range(50):
            numbers = (numbers @ numbers).clamp(0, 1)
        waiting.ask()
        numbers[:1].cpu()  # as a transfer that waits for the device
        waiting.on_train_batch_start(None, None, None, step)
    torch.cuda.synchronize()
    assert waiting.seconds < (time.perf_counter() - began) / 2
    before = waiting.seconds
    waiting.ask()
    time.sleep(SLEEP)
    waiting.on_train_batch_start(None, None, None, 5)
    assert waiting.seconds - before >= SLEEP / 2
