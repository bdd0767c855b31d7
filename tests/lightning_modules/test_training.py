import json
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

import lightning_modules
from lightning_modules import Execution, ImageData, Progress, Result, build, fit
from lightning_modules.averaging import batch_norm_momenta
from lightning_modules.checkpoint_files import checkpoints
from lightning_modules.training import torch_device, write_environment
from recipes import Recipe, RecipeError, edit, hook, linear

# Everything that has a state of its own, so that a resumed run has everything to lose.
EVERYTHING = {
    "optim.epochs": 4,
    "optim.warmup_epochs": 1.0,
    "optim.ema_decay": 0.9,
    "optim.ema_warmup": True,
    "optim.weight_decay": linear(1e-3, 1e-5),
    "model.bn_momentum": 1.0,
    "model.dropout": 0.2,
    "model.drop_path": linear(0.0, 0.2),
    "model.drop_path_rule": "stage",
    "augment.randaug_layers": 1,
    "augment.randaug_space": "timm",
    "augment.randaug_magnitude": linear(2.0, 9.0),
    "evaluate.weights": "ema",
}
TIMES = {
    "seconds",
    "train_seconds",
    "data_seconds",
    "train_images_per_second",
    "peak_memory_bytes",
}


def numbers(result: Result) -> dict[str, object]:
    """Return all of a result but what a clock or the operating system says."""
    return {name: value for name, value in asdict(result).items() if name not in TIMES}


def written(folder: Path) -> dict[str, object]:
    stored = np.load(folder / "predictions.npz")
    weights = torch.load(folder / "weights.pt") if (folder / "weights.pt").exists() else {}
    return {
        "curve": [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()],
        "predicted": stored["predicted"].tobytes(),
        "loss": stored["loss"].tobytes(),
        "correct": np.load(folder / "correct.npy").tobytes(),
        "weights": {name: value.numpy().tobytes() for name, value in weights.items()},
    }


@pytest.fixture(scope="module")
def rich(tiny: Recipe) -> Recipe:
    return edit(tiny, EVERYTHING)


@pytest.fixture(scope="module")
def whole(rich: Recipe, on_cpu: Execution, tmp_path_factory: pytest.TempPathFactory):
    """One run with everything, not interrupted; its folder and result."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, fit(rich, 0, replace(on_cpu, keep="last"), folder)


def test_the_same_seed_gives_the_same_result_bit_for_bit(rich, whole, on_cpu, tmp_path):
    torch.manual_seed(12345)  # the global generator must not matter
    again = fit(rich, 0, replace(on_cpu, keep="last"), tmp_path)
    assert numbers(again) == numbers(whole[1])
    assert written(tmp_path) == written(whole[0])


def test_another_seed_gives_another_run(rich, whole, on_cpu, tmp_path):
    other = fit(rich, 1, replace(on_cpu, keep="last"), tmp_path)
    assert other.loss != whole[1].loss
    mine, theirs = written(tmp_path), written(whole[0])
    assert mine["curve"] != theirs["curve"]
    assert all(
        mine["weights"][name] != value  # type: ignore[index]
        for name, value in theirs["weights"].items()  # type: ignore[attr-defined]
        if name.endswith("weight")
    )


def test_a_result_says_what_was_done(rich, whole):
    folder, result = whole
    assert (result.status, result.message, result.device) == ("finished", "", "cpu")
    assert (result.epochs, result.steps) == (4, 12)
    assert result.top1 == result.top1_ema
    assert result.evaluated_images == 599
    assert 0 < result.data_seconds < result.train_seconds < result.seconds
    assert result.train_images_per_second > 1
    assert result.peak_memory_bytes is not None
    assert result.peak_memory_bytes > 100 * 2**20
    network = build(rich.model, classes=10)
    assert result.params == sum(parameter.numel() for parameter in network.parameters())
    assert not (folder / "checkpoint").exists()


def test_the_images_that_are_right_are_kept_as_bits(whole):
    folder, result = whole
    bits = np.load(folder / "correct.npy")
    assert (bits.dtype, len(bits)) == (np.uint8, -(-result.evaluated_images // 8))
    right = np.unpackbits(bits, count=result.evaluated_images)
    assert 100 * right.mean() == pytest.approx(result.top1)
    # A loss below log 2 is a probability above one half of the label: the image is right.
    assert right[np.load(folder / "predictions.npz")["loss"] < np.log(2)].all()


def test_the_curve_has_a_row_per_epoch_with_that_epochs_numbers(whole):
    rows = written(whole[0])["curve"]
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 3), (2, 6), (3, 9), (4, 12)]
    names = {"train/loss", "val/top1", "val/loss", "val/top1_raw", "val/top1_ema"}
    assert all(names <= set(row) for row in rows)
    assert all(row["val/loss"] == row["val/loss_ema"] for row in rows)
    assert len({row["train/loss"] for row in rows}) == 4


def test_fewer_evaluations_leave_gaps_in_the_curve_not_old_numbers(tiny, on_cpu, tmp_path):
    recipe = edit(tiny, {"optim.epochs": 4})
    fit(recipe, 0, replace(on_cpu, evaluations=2), tmp_path / "two")
    has = ["val/top1" in row for row in written(tmp_path / "two")["curve"]]
    assert has == [False, True, False, True]
    fit(recipe, 0, replace(on_cpu, evaluations=0), tmp_path / "none")
    assert not any("val/top1" in row for row in written(tmp_path / "none")["curve"])


def test_predictions_are_those_behind_the_accuracy(rich, whole, on_cpu):
    folder, result = whole
    stored = np.load(folder / "predictions.npz")
    data = ImageData(rich, cache=on_cpu.cache)
    data.setup()
    labels = torch.cat([batch.targets for batch in data.test_dataloader()]).numpy()
    assert stored["predicted"].shape == stored["loss"].shape == labels.shape
    assert 100 * float((stored["predicted"] == labels).mean()) == pytest.approx(result.top1)
    assert float(stored["loss"].mean(dtype=np.float64)) == pytest.approx(result.loss)
    constant = [100 * float((labels == label).mean()) for label in range(10)]
    assert result.chance_top1 == pytest.approx(max(constant))


@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_the_accuracy_on_minival_is_the_last_point_of_the_curve(rich, on_cpu, tmp_path, weights):
    recipe = edit(rich, {"evaluate.weights": weights})
    result = fit(recipe, 0, on_cpu, tmp_path)
    last = written(tmp_path)["curve"][-1]
    assert (last["epoch"], last["val/top1"]) == (4, last[f"val/top1_{weights}"])
    assert result.minival_top1 == pytest.approx(last["val/top1"], rel=1e-6)
    right = np.load(tmp_path / "minival_correct.npy")
    assert len(right) == 120  # a tenth of each class of the 1198, as in docs/results.md
    assert 100 * float(right.mean()) == pytest.approx(result.minival_top1)
    # Without a point of the curve at the end it is the same, and reading it changes nothing.
    other = fit(recipe, 0, replace(on_cpu, evaluations=0), tmp_path / "none")
    assert numbers(other) == numbers(result)


def test_nothing_held_out_gives_no_accuracy_on_minival(tiny, on_cpu, tmp_path):
    result = fit(edit(tiny, {"data.minival_fraction": 0.0}), 0, on_cpu, tmp_path)
    assert result.minival_top1 is None
    assert not (tmp_path / "minival_correct.npy").exists()


# Weights that are kept --------------------------------------------------------------------------


@pytest.mark.parametrize("keep", ["last", "ema"])
def test_kept_weights_are_those_that_were_evaluated(rich, on_cpu, tmp_path, keep):
    result = fit(rich, 0, replace(on_cpu, keep=keep), tmp_path)
    network = build(rich.model, classes=10).eval()
    assert set(batch_norm_momenta(network).values()) == {1.0}
    network.load_state_dict(torch.load(tmp_path / "weights.pt"), strict=True)
    data = ImageData(rich, cache=on_cpu.cache)
    data.setup()
    right = []
    for batch in data.test_dataloader():
        ready = data.prepare(batch, 0)
        with torch.no_grad():
            right.append(network(ready.images).argmax(1) == ready.targets)
    found = 100 * float(torch.cat(right).double().mean())
    assert found == pytest.approx(result.top1_raw if keep == "last" else result.top1_ema)


def test_no_weights_are_kept_unless_asked(tiny, on_cpu, tmp_path):
    fit(tiny, 0, on_cpu, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"metrics.jsonl", "predictions.npz"}
    assert not (tmp_path / "weights.pt").exists()


# Interrupted ------------------------------------------------------------------------------------

STOPPING = """
    import pathlib

    seen = []

    def stop(images, targets, at, flag):
        seen.append(1)
        if pathlib.Path(flag).exists() and len(seen) == at:
            raise KeyboardInterrupt
        return images, targets
"""


# Of 4 epochs of 3 steps: before anything is saved, in the middle of epochs and at their ends.
@pytest.mark.parametrize("at", [2, 6, 7, 12])
def test_an_interrupted_run_goes_on_to_the_same_result_bit_for_bit(
    rich, on_cpu, tmp_path, user_module, at
):
    mine = user_module(f"mine_stop_{at}", STOPPING)
    flag = tmp_path / "flag"
    recipe = edit(rich, {"custom.stop": hook("batch", mine.stop, at=at, flag=str(flag))})
    execution = replace(on_cpu, keep="last", checkpoint_seconds=0.0)
    wanted = fit(recipe, 0, execution, tmp_path / "whole")
    mine.seen.clear()
    flag.touch()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, 0, execution, tmp_path / "broken")
    assert signal.getsignal(signal.SIGINT) is before  # the next Ctrl-C must still be heard
    files = checkpoints(tmp_path / "broken/checkpoint")
    last = at - 1 if (at - 1) % 3 == 0 else at - 2  # the batch is asked for before it is saved
    assert [one.step for one in files] == [step for step in (last, last - 1) if step > 0]
    assert not (tmp_path / "broken/predictions.npz").exists()
    assert not (tmp_path / "broken/correct.npy").exists()
    flag.unlink()
    mine.seen.clear()
    saved = torch.load(files[0].path, weights_only=True)["callbacks"]["Curves"] if files else None
    found = fit(recipe, 0, execution, tmp_path / "broken")
    if saved is not None:  # the costs are the whole run's
        assert saved["seconds"] > 0 and found.seconds > saved["whole"]
        assert found.train_seconds > saved["seconds"]
    assert len(mine.seen) == 12 - last  # it did go on, not begin again
    assert numbers(found) == numbers(wanted)
    assert written(tmp_path / "broken") == written(tmp_path / "whole")
    assert not (tmp_path / "broken/checkpoint").exists()


def test_an_old_checkpoint_does_not_double_rows_of_the_curve(rich, on_cpu, tmp_path, user_module):
    """Saved after the first epoch only, interrupted in the fourth."""
    mine = user_module("mine_stop_old", STOPPING)
    flag = tmp_path / "flag"
    recipe = edit(rich, {"custom.stop": hook("batch", mine.stop, at=5, flag=str(flag))})
    flag.touch()
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, 0, replace(on_cpu, checkpoint_seconds=0.0), tmp_path / "run")
    mine.seen.clear()
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, 0, replace(on_cpu, checkpoint_seconds=1e9), tmp_path / "run")
    flag.unlink()
    fit(recipe, 0, on_cpu, tmp_path / "run")
    assert [row["epoch"] for row in written(tmp_path / "run")["curve"]] == [1, 2, 3, 4]


def test_an_interruption_from_the_progress_display_comes_out_as_itself(tiny, on_cpu, tmp_path):
    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(tiny, 0, replace(on_cpu, on_progress=interrupt), tmp_path)


def test_operations_that_round_alike_are_asked_for_and_only_for_that_run(tiny, on_cpu, tmp_path):
    seen = []

    def look(progress: Progress) -> None:
        seen.append(torch.are_deterministic_algorithms_enabled())

    fit(tiny, 0, replace(on_cpu, on_progress=look, deterministic=True), tmp_path)
    assert seen[0] is True
    assert not torch.are_deterministic_algorithms_enabled()


def test_progress_is_told(tiny, on_cpu, tmp_path):
    told: list[Progress] = []
    fit(tiny, 0, replace(on_cpu, on_progress=told.append), tmp_path)
    assert told[0] == Progress(step=1, steps=3, epoch=1, epochs=1, top1=None, loss=None)


# Gone wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_run_that_diverges_says_so_and_has_no_number(tiny, on_cpu, tmp_path, epochs):
    recipe = edit(tiny, {"optim.lr": 1e30, "optim.epochs": epochs})
    result = fit(recipe, 0, on_cpu, tmp_path)
    assert result.status == "diverged"
    assert "the training loss was" in result.message
    assert (result.top1, result.loss, result.top1_raw) == (None, None, None)
    assert result.params > 0
    assert not (tmp_path / "predictions.npz").exists()
    assert not (tmp_path / "correct.npy").exists()
    assert not (tmp_path / "checkpoint").exists()


def test_a_last_step_that_breaks_the_network_is_seen_in_its_evaluation(tiny, on_cpu, tmp_path):
    recipe = edit(tiny, {"optim.lr": 1e30, "data.batch_size": 64})  # one step, of a finite loss
    result = fit(recipe, 0, replace(on_cpu, keep="last"), tmp_path)
    assert (result.status, result.steps, result.top1, result.loss) == ("diverged", 1, None, None)
    assert "the loss of the trained network was" in result.message
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"metrics.jsonl"}


def test_what_the_backbone_cannot_take_is_raised_before_training(tiny, on_cpu, tmp_path):
    recipe = edit(tiny, {"model.backbone": "test_vit"})
    with pytest.raises(RecipeError, match="test_vit .* cannot take model.layers, model.width"):
        fit(recipe, 0, on_cpu, tmp_path)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_warnings_and_loggers_are_left_as_they_were(tiny, on_cpu, tmp_path):
    import logging

    names = ("pytorch_lightning", "lightning.pytorch")
    before = [logging.getLogger(name).level for name in names]
    fit(tiny, 0, on_cpu, tmp_path)
    assert [logging.getLogger(name).level for name in names] == before


# The package ------------------------------------------------------------------------------------


def test_auto_takes_the_device_that_there_is():
    assert torch_device("cpu") == torch.device("cpu")
    assert torch_device("cuda:1") == torch.device("cuda", 1)
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    assert torch_device("auto").type in (wanted, "mps")


def test_the_environment_names_versions_and_hardware(tmp_path):
    write_environment(tmp_path / "environment.json")
    stored = json.loads((tmp_path / "environment.json").read_text())
    assert stored["torch"] == torch.__version__
    assert stored["pytorch_lightning"] == pl.__version__
    assert stored["schema_version"] == 1


def test_fit_is_the_function_and_not_a_module():
    assert lightning_modules.fit is sys.modules["lightning_modules.training"].fit
    code = "from lightning_modules import fit; print(type(fit).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "function"


def test_the_package_loads_no_torch_before_it_is_asked():
    code = (
        "import lightning_modules, sys; lightning_modules.Execution; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert set(lightning_modules.__all__) >= {"build", "describe", "fit", "Classifier", "ImageData"}
