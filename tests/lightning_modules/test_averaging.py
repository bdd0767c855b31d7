import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from timm.utils import ModelEmaV3
from torch import nn

import recipes
from lightning_modules import ImageData, build, fit
from lightning_modules.averaging import Averaged, batch_norm_momenta
from lightning_modules.schedules import ema_decay_at
from recipes import edit

DECAY = 0.99


def network(momentum: float | None, layout: torch.memory_format) -> nn.Module:
    model = edit(recipes.load("tiny"), {"model.bn_momentum": momentum}).model
    return build(model, classes=10).train().to(memory_format=layout)


def steps(network: nn.Module, number: int, layout: torch.memory_format):
    """Train for real; yield after each optimiser step."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    for step in range(number):
        images = torch.randn(16, 3, 16, 16, generator=generator).contiguous(memory_format=layout)
        targets = torch.randint(0, 10, (16,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), targets).backward()
        optimizer.step()
        yield step


LAYOUTS = [torch.channels_last, torch.contiguous_format]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_average_is_timms_over_weights_and_statistics(layout):
    trained = network(1.0, layout)
    timms = ModelEmaV3(trained, decay=DECAY, use_warmup=True, warmup_gamma=9, warmup_power=1)
    averaged = Averaged(trained)
    for step in steps(trained, 20, layout):
        averaged.update(ema_decay_at(DECAY, step + 1, warmup=True))
        timms.update(trained, step=step + 3)  # facts.md, trap 2: k + 2 for update k = 1, 2, ...
    wanted = timms.module.state_dict()
    found = averaged.state()
    assert set(wanted) - set(found) == {name for name in wanted if "num_batches" in name}
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-6, atol=1e-7)
    assert not torch.equal(found["bn1.running_mean"], trained.bn1.running_mean)


def test_the_average_is_a_weighted_sum_of_all_that_was_seen():
    one = nn.Linear(1, 1, bias=False)
    nn.init.constant_(one.weight, 1.0)
    averaged = Averaged(one)
    for value, decay in ((3.0, 0.5), (5.0, 0.8)):
        nn.init.constant_(one.weight, value)
        averaged.update(decay)
    assert averaged.state()["weight"].item() == pytest.approx(0.8 * (0.5 * 1 + 0.5 * 3) + 0.2 * 5)
    assert averaged.updates == 2


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_raw_statistics_are_bit_equal_to_those_of_the_layer_itself(layout):
    native, followed = network(None, layout), network(1.0, layout)
    momenta = batch_norm_momenta(native)
    assert set(momenta.values()) == {0.1}
    averaged = Averaged(followed, raw_momenta=momenta)
    for _ in zip(steps(native, 20, layout), steps(followed, 20, layout), strict=True):
        averaged.follow_statistics()
    wanted, found = dict(native.named_buffers()), averaged.raw_statistics()
    assert found.keys() == {name for name in wanted if "num_batches" not in name}
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())
    assert not torch.equal(followed.bn1.running_mean, wanted["bn1.running_mean"])


def test_what_is_saved_comes_back_and_goes_on_alike():
    momenta = batch_norm_momenta(network(None, torch.channels_last))
    trained = network(1.0, torch.channels_last)
    both = [Averaged(trained, raw_momenta=momenta)]
    for step in steps(trained, 6, torch.channels_last):
        for averaged in both:
            averaged.follow_statistics()
            averaged.update(0.9)
        if step == 2:
            file = io.BytesIO()
            torch.save(both[0].save(), file)
            file.seek(0)
            both.append(Averaged(trained, raw_momenta=momenta))
            both[1].restore(torch.load(file, weights_only=True))
    first, second = (one.state() | one.raw_statistics() for one in both)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [one.updates for one in both] == [6, 6]


def test_an_average_costs_no_training_the_raw_network_stays_bit_for_bit(tmp_path, tiny, on_cpu):
    keep = replace(on_cpu, keep="last")
    plain = edit(tiny, {"optim.epochs": 3, "optim.lr": 0.8})
    treated = edit(
        plain, {"optim.ema_decay": 0.9, "optim.ema_warmup": True, "model.bn_momentum": 1.0}
    )
    assert recipes.trajectory(plain) == recipes.trajectory(treated)
    results = {}
    for name, recipe in (("plain", plain), ("treated", treated)):
        results[name] = fit(recipe, 0, keep, tmp_path / name)
    raw, averaged = results["plain"], results["treated"]
    assert (averaged.top1_raw, averaged.loss) == (raw.top1_raw, raw.loss)
    assert (averaged.top1_ema is None, raw.top1_ema is None) == (False, True)
    first, second = (torch.load(tmp_path / name / "weights.pt") for name in results)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    curves = [_curve(tmp_path / name / "metrics.jsonl") for name in results]
    assert curves[0] == curves[1]
    stored = [np.load(tmp_path / name / "predictions.npz") for name in results]
    assert all(np.array_equal(stored[0][key], stored[1][key]) for key in ("predicted", "loss"))


def _curve(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 3
    return [{name: value for name, value in row.items() if "ema" not in name} for row in rows]


def test_both_sets_of_weights_are_evaluated_each_with_its_own_statistics(tmp_path, tiny, on_cpu):
    """Against a network that holds the averaged weights and statistics itself."""
    recipe = edit(
        tiny,
        {
            "optim.epochs": 4,
            "optim.ema_decay": 0.8,
            "model.bn_momentum": 1.0,
            "evaluate.weights": "ema",
        },
    )
    result = fit(recipe, 0, replace(on_cpu, keep="ema"), tmp_path)
    assert result.top1 == result.top1_ema
    alone = build(recipe.model, classes=10).eval()
    alone.load_state_dict(torch.load(tmp_path / "weights.pt"), strict=True)
    data = ImageData(recipe, cache=on_cpu.cache)
    data.setup()
    losses = []
    for batch in data.test_dataloader():
        ready = data.prepare(batch, 0)
        with torch.no_grad():
            logits = alone(ready.images)
        losses.append(nn.functional.cross_entropy(logits, ready.targets, reduction="none"))
    stored = np.load(tmp_path / "predictions.npz")["loss"]
    np.testing.assert_allclose(torch.cat(losses).numpy(), stored, rtol=1e-4, atol=1e-5)
