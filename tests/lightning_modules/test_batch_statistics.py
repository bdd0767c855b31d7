"""Batch norms of parts of a batch, against each part normalised by itself."""

from __future__ import annotations

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torch.nn.functional import batch_norm, relu

from lightning_modules.averaging import Averaged
from lightning_modules.batch_statistics import take_statistics_of
from lightning_modules.classifier import Classifier
from recipes import RecipeError, edit


def images(count: int = 8, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    scale = torch.arange(1.0, count + 1).view(-1, 1, 1, 1)  # so that every part has its own
    return scale * torch.randn(count, channels, 4, 4, generator=generator)


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNormAct2d])
def test_each_part_is_normalised_by_itself(kind: type[nn.BatchNorm2d]) -> None:
    norm = kind(3)
    norm.momentum = 0.25
    take_statistics_of(norm, 2)
    found = norm.train()(images())
    expected = torch.cat(
        [batch_norm(part, None, None, training=True) for part in images().split(2)]
    )
    if kind is BatchNormAct2d:
        expected = relu(expected)
    torch.testing.assert_close(found, expected)
    means = torch.stack([part.mean((0, 2, 3)) for part in images().split(2)])
    variances = torch.stack([part.var((0, 2, 3)) for part in images().split(2)])
    torch.testing.assert_close(norm.running_mean, 0.25 * means.mean(0))
    torch.testing.assert_close(norm.running_var, 0.75 + 0.25 * variances.mean(0))
    assert int(norm.num_batches_tracked) == 1
    assert set(norm.state_dict()) == set(kind(3).state_dict())


def test_evaluation_and_whole_batches_are_the_layer_s_own() -> None:
    norm, plain = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    take_statistics_of(norm, 4)
    torch.testing.assert_close(norm(images(4)), plain(images(4)), rtol=0, atol=0)
    torch.testing.assert_close(norm.running_var, plain.running_var, rtol=0, atol=0)
    norm.eval(), plain.eval()
    torch.testing.assert_close(norm(images()), plain(images()), rtol=0, atol=0)
    untouched = nn.BatchNorm2d(3)
    take_statistics_of(untouched, 0)
    assert type(untouched) is nn.BatchNorm2d


def test_gradients_do_not_cross_parts() -> None:
    norm = nn.BatchNorm2d(3)
    take_statistics_of(norm, 4)
    given = images().requires_grad_()
    (norm(given)[:4] ** 3).sum().backward()
    assert given.grad is not None
    assert given.grad[:4].abs().sum() > 0
    assert given.grad[4:].abs().sum() == 0


def test_statistics_that_are_read_off_round_as_the_layer_s_own() -> None:
    """As for the whole batch: momentum 1 in the network, and `Averaged` beside it."""
    own, last = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    last.momentum = 1.0
    for norm in (own, last):
        take_statistics_of(norm, 2)
    kept = Averaged(last, raw_momenta={"running_mean": 0.1, "running_var": 0.1}, average=False)
    for step in range(5):
        own(images() + step), last(images() + step)
        kept.follow_statistics()
    for name, value in kept.raw_statistics().items():
        assert torch.equal(value, getattr(own, name))


def test_a_norm_that_is_not_known_is_refused() -> None:
    class Mine(nn.BatchNorm2d):
        pass

    with pytest.raises(RecipeError, match="is a batch norm of type Mine, which knows only"):
        take_statistics_of(nn.Sequential(Mine(3)), 2)


def test_a_recipe_s_network_is_divided_by_its_leaf(tiny) -> None:
    module = Classifier(edit(tiny, {"optim.bn_batch": 8}))
    norms = [part for part in module.network.modules() if isinstance(part, nn.BatchNorm2d)]
    assert norms
    assert all(norm.images == 8 for norm in norms)  # type: ignore[attr-defined]
    plain = Classifier(tiny)
    assert list(plain.state_dict()) == list(module.state_dict())
    given = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(plain.train()(given), module.train()(given))
    with torch.no_grad():
        parts = torch.cat([Classifier(tiny).train()(part) for part in given.split(8)])
    torch.testing.assert_close(module.train()(given), parts)


@pytest.mark.parametrize("images_per_norm", [1, 5, 32, 64])
def test_parts_are_equal_and_of_two_images_or_more(tiny, images_per_norm: int) -> None:
    with pytest.raises(RecipeError, match="must divide data.batch_size = 32 into equal parts"):
        edit(tiny, {"optim.bn_batch": images_per_norm})
