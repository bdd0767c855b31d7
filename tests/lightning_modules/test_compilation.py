"""Compiled blocks are the network's own, with its random numbers, up to rounding."""

from __future__ import annotations

import copy
import shutil
from functools import partialmethod

import pytest
import torch
from torch import nn

from lightning_modules import build
from lightning_modules.compilation import compile_blocks, hindrance, pays, repeated_blocks
from lightning_modules.streams import seed_torch
from recipes import edit, linear, load

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_run_is_compiled_where_it_is_long_enough_on_a_gpu():
    resnet50, imagenet = 3 * 2 * 4.1e9, 1.28e6
    assert pays("auto", CUDA, resnet50 * imagenet * 90)
    assert not pays("auto", CUDA, resnet50 * 50_000)
    assert not pays("auto", CPU, resnet50 * imagenet * 90)
    assert not pays("never", CUDA, 1e30)
    assert pays("always", CPU, 0.0)
    with pytest.raises(ValueError, match="'yes' is not one of never, auto, always"):
        pays("yes", CUDA, 0.0)


def test_what_moves_is_not_compiled():
    tiny = load("tiny")
    assert hindrance(tiny) == ""
    moved = edit(tiny, {"model.drop_path": linear(0.0, 0.1), "model.drop_path_rule": "linear"})
    assert hindrance(moved).startswith("model.drop_path moves")


@pytest.mark.parametrize(
    ("backbone", "count"), [("resnet50", 16), ("efficientnet_b0", 15), ("vit_tiny_patch16_224", 12)]
)
def test_blocks_are_the_repeated_ones(backbone: str, count: int):
    import timm

    with torch.device("meta"):
        network = timm.create_model(backbone)
    blocks = repeated_blocks(network)
    assert len(blocks) == count
    assert not any(a != b and a.startswith(f"{b}.") for a in blocks for b in blocks)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's
def test_every_run_of_a_process_is_compiled_and_its_evaluation_too(monkeypatch):
    from torch._dynamo.utils import counters

    # Without the code of the second half, which takes a minute and has no such limit.
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="eager"))
    images = torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    for se_ratio in (0.0, 0.25):
        leaves = {"model.layers": (2, 2, 2, 2), "model.se_ratio": se_ratio}
        network = build(edit(load("tiny"), leaves).model, classes=10).train()
        counters.clear()
        compile_blocks(network)
        network(images).sum().backward()
        trained = counters["stats"]["unique_graphs"]
        assert trained > 4
        with torch.no_grad():
            network.eval()(images)
        assert counters["stats"]["unique_graphs"] == 2 * trained
        assert counters["frames"]["ok"] == counters["frames"]["total"]
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor compiles with g++")
def test_outputs_gradients_and_random_numbers_agree():
    from torch._inductor import metrics

    metrics.reset()
    leaves = {"model.layers": (2, 2, 2, 2), "model.se_ratio": 0.25}
    leaves |= {"model.drop_path": 0.4, "model.drop_path_rule": "stage", "model.dropout": 0.3}
    plain = build(edit(load("tiny"), leaves).model, classes=10).train()
    compiled = copy.deepcopy(plain)
    assert compile_blocks(compiled) == 8
    assert list(compiled.state_dict()) == list(plain.state_dict())
    images = torch.randn(8, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    seen = []
    for network in (plain, compiled):
        seed_torch(CPU, 3)
        logits = network(images)
        logits.square().mean().backward()
        seen.append([logits.detach(), *(one.grad for one in network.parameters())])
    for expected, found in zip(*seen, strict=True):
        assert (found - expected).norm() <= 1e-4 * expected.norm() + 1e-6
    assert metrics.generated_kernel_count > 0  # it was compiled, not given up
    plain.load_state_dict(compiled.state_dict())
    assert torch.equal(copy.deepcopy(compiled).eval()(images), plain.eval()(images))
