import pytest
import torch
from torch import Tensor, nn

import recipes
from lightning_modules import build
from lightning_modules.optim import (
    make_optimizer,
    parameter_groups,
    set_momentum,
    set_weight_decay,
)
from recipes import Model, Recipe, edit, linear


def recipe(**optim: object) -> Recipe:
    """Return `tiny` at a peak learning rate of exactly 0.1 for its 32 images."""
    inert = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "decay_scope": "all"}
    leaves = inert | {"lr": 0.8} | optim
    return edit(recipes.load("tiny"), {f"optim.{name}": value for name, value in leaves.items()})


class Weights(nn.Module):
    """One parameter, whose gradient the test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, -2.0, 0.5]]))


def stepped(what: Recipe, gradients: list[Tensor]) -> Tensor:
    network = Weights()
    optimizer = make_optimizer(network, what)
    for gradient in gradients:
        network.weight.grad = gradient.clone()
        optimizer.step()
    return network.weight.detach()


GRADIENTS = [torch.tensor([[0.3, -0.1, 0.7]]), torch.tensor([[-0.2, 0.4, 0.1]])]
START = torch.tensor([[1.0, -2.0, 0.5]])


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_steps_are_those_by_hand_with_coupled_decay(nesterov):
    found = stepped(recipe(momentum=0.9, nesterov=nesterov, weight_decay=0.01), GRADIENTS)
    weight, velocity = START.clone(), torch.zeros(1, 3)
    for gradient in GRADIENTS:
        whole = gradient + 0.01 * weight  # the gradient of half the squared norm
        velocity = 0.9 * velocity + whole
        weight = weight - 0.1 * (whole + 0.9 * velocity if nesterov else velocity)
    torch.testing.assert_close(found, weight)


def test_rmsprop_steps_are_tensorflows():
    what = recipe(
        optimizer="rmsprop_tf", momentum=0.9, second_moment=0.8, epsilon=1e-3, weight_decay=0.01
    )
    weight, square, step = START.clone(), torch.ones(1, 3), torch.zeros(1, 3)
    for gradient in GRADIENTS:  # the mean starts at 1, epsilon inside the root, lr in the buffer
        whole = gradient + 0.01 * weight
        square = 0.8 * square + 0.2 * whole**2
        step = 0.9 * step + 0.1 * whole / (square + 1e-3).sqrt()
        weight = weight - step
    torch.testing.assert_close(stepped(what, GRADIENTS), weight)


def test_adamw_decays_beside_the_gradient():
    what = recipe(
        optimizer="adamw", momentum=0.9, second_moment=0.99, epsilon=1e-6, weight_decay=0.05
    )
    weight, mean, square = START.clone(), torch.zeros(1, 3), torch.zeros(1, 3)
    for number, gradient in enumerate(GRADIENTS, start=1):
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient**2
        whole = (mean / (1 - 0.9**number)) / ((square / (1 - 0.99**number)).sqrt() + 1e-6)
        weight = weight - 0.1 * 0.05 * weight - 0.1 * whole
    torch.testing.assert_close(stepped(what, GRADIENTS), weight)


def scoped(backbone: str, scope: str) -> tuple[set[str], set[str]]:
    with torch.device("meta"):
        network = build(Model(backbone=backbone), classes=10)
    names = {parameter: name for name, parameter in network.named_parameters()}
    decayed, kept = parameter_groups(network, scope)
    assert len(decayed) + len(kept) == len(names)
    return {names[one] for one in decayed}, {names[one] for one in kept}


def test_all_decays_everything():
    decayed, kept = scoped("test_resnet", "all")
    assert kept == set()
    assert decayed


# Efficient-net's norms are fused with their activation, ConvNeXt's stand on channels.
@pytest.mark.parametrize(
    "backbone", ["test_resnet", "test_efficientnet", "test_vit", "test_convnext"]
)
def test_not_norm_spares_norms_and_nothing_else(backbone):
    _, kept = scoped(backbone, "not_norm")
    assert kept
    with torch.device("meta"):
        network = build(Model(backbone=backbone), classes=10)
    wanted = {
        f"{name}.{leaf}"
        for name, part in network.named_modules()
        if "Norm" in type(part).__name__
        for leaf, _ in part.named_parameters(recurse=False)
    }
    assert kept == wanted


def test_biases_decay_outside_norms_but_are_no_kernels():
    with_norms, _ = scoped("test_efficientnet", "not_norm")
    kernels, spared = scoped("test_efficientnet", "kernels")
    assert any(name.endswith("se.conv_reduce.bias") for name in with_norms)  # facts.md, trap 10
    assert "classifier.bias" in with_norms & spared
    assert all(name.endswith("weight") for name in kernels)


def test_the_groups_of_the_optimiser_follow_the_scope():
    what = recipe(weight_decay=0.3, decay_scope="not_norm")
    network = build(what.model, classes=10)
    groups = make_optimizer(network, what).param_groups
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]
    assert all(parameter.ndim == 1 for parameter in groups[1]["params"])


def test_a_moved_weight_decay_reaches_only_what_decays():
    what = recipe(weight_decay=linear(0.3, 0.1), decay_scope="not_norm")
    optimizer = make_optimizer(build(what.model, classes=10), what)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]
    set_weight_decay(optimizer, 0.2)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.2, 0.0]


def test_a_momentum_that_starts_at_nought_looks_ahead_once_it_moves():
    what = recipe(momentum=linear(0.0, 0.9), nesterov=True)
    network = Weights()
    optimizer = make_optimizer(network, what)
    weight, velocity = START.clone(), torch.zeros(1, 3)
    for gradient, momentum in zip(GRADIENTS + GRADIENTS, (0.0, 0.5, 0.7, 0.9), strict=True):
        set_momentum(optimizer, momentum)
        network.weight.grad = gradient.clone()
        optimizer.step()
        # torch keeps no velocity while the momentum is 0
        velocity = momentum * velocity + gradient if momentum else velocity
        weight = weight - 0.1 * (gradient + momentum * velocity)
    torch.testing.assert_close(network.weight.detach(), weight)


def test_adamws_first_beta_is_its_momentum():
    what = recipe(optimizer="adamw", momentum=0.8, second_moment=0.99, epsilon=1e-8)
    optimizer = make_optimizer(Weights(), what)
    set_momentum(optimizer, 0.6)
    assert [group["betas"] for group in optimizer.param_groups] == [(0.6, 0.99)]


def test_rmsprops_momentum_may_start_at_nought():
    common = {"optimizer": "rmsprop_tf", "second_moment": 0.9, "epsilon": 1e-3}
    moving, still = Weights(), Weights()
    ours = make_optimizer(moving, recipe(momentum=linear(0.0, 0.9), **common))
    theirs = make_optimizer(still, recipe(momentum=0.0, **common))
    for momentum in (0.0, 0.0, 0.5):
        set_momentum(ours, momentum)
        if momentum == 0.0:
            for network, optimizer in ((moving, ours), (still, theirs)):
                network.weight.grad = GRADIENTS[0].clone()
                optimizer.step()
            torch.testing.assert_close(moving.weight, still.weight)
    velocity = ours.state[moving.weight]["momentum_buffer"].clone()
    before, moving.weight.grad = moving.weight.detach().clone(), torch.zeros_like(moving.weight)
    ours.step()
    torch.testing.assert_close(before - moving.weight.detach(), 0.5 * velocity)
