import pytest
import torch

from lightning_modules import Execution
from lightning_modules.probe import observe
from recipes import edit, hook, load


def nothing(network: torch.nn.Module) -> torch.nn.Module:
    return network


@pytest.mark.parametrize(
    "leaves",
    [
        {"model.se_ratio": 0.25, "model.zero_init_last": True, "model.bn_momentum": 1.0},
        {"model.drop_path": 0.1, "model.drop_path_rule": "stage", "model.dropout": 0.2},
        {
            "model.backbone": "test_vit",
            "model.layers": (),
            "model.width": 1.0,
            "model.zero_init_last": False,
        },
    ],
    ids=lambda leaves: next(iter(leaves)),
)
def test_a_copy_of_the_first_building_gives_what_a_second_one_gives(leaves, tmp_path):
    steps = {"optim.ema_decay": 0.9, "evaluate.weights": "ema", "optim.grad_clip": 1.0}
    if leaves.get("model.backbone") == "test_vit":
        steps["data.resolution"] = 160
    recipe = edit(load("tiny"), steps | leaves)
    # What a user's function has made is not copied: there the network is built anew.
    anew = edit(recipe, {"custom.nothing": hook("model", nothing)})
    execution = Execution(cache=tmp_path, device="cpu", threads=1)
    found = observe(recipe, execution)
    assert found == observe(anew, execution)
    assert found != observe(edit(recipe, {"optim.lr": 2 * recipe.optim.lr}), execution)
