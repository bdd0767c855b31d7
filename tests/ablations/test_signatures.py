import importlib
import sys

import pytest

from ablations.certificate import check
from ablations.signatures import SIGNATURES, allowed, signature
from lightning_modules.probe import observe
from recipes import RecipeError, edit, hook, load
from recipes.tree import declarations
from tests.ablations.certified import alone, certificates, judged, seen_and_judged, setting

HOOKS = """
import torch
from torch.nn.functional import cross_entropy

def focal(logits, targets):
    if targets.ndim > 1:
        return -(targets * logits.log_softmax(1)).sum(1).pow(2).mean()
    return cross_entropy(logits, targets, reduction="none").pow(2).mean()

def constant(logits, targets):
    return cross_entropy(logits, targets) + 1.0

def detached(logits, targets):
    return cross_entropy(logits, targets).detach() + 0.0 * logits.sum()

def unused(network):
    network.unused = torch.nn.Linear(3, 3)
    return network

def frozen(network):
    network.layer1.requires_grad_(False)
    return network

def slow_statistics(network):
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 0.5
    return network

def tagged(optimizer):
    optimizer.param_groups[0]["tag"] = 1
    return optimizer

def forgetful(optimizer):
    optimizer.param_groups[0]["lr"] = 0.1
"""


@pytest.mark.parametrize(
    ("place", "name", "treated"),
    [
        ("loss", "focal", True),
        ("loss", "constant", False),
        ("loss", "detached", False),
        ("model", "unused", False),
        ("model", "frozen", True),
        ("model", "slow_statistics", True),
        ("optimizer", "tagged", False),
    ],
)
def test_a_hook_is_treated_by_what_it_changes_in_training(
    place, name, treated, execution, tmp_path, monkeypatch
):
    (tmp_path / "hooked.py").write_text(HOOKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "hooked", raising=False)
    function = getattr(importlib.import_module("hooked"), name)
    layout = setting({f"custom.{name}": hook(place, function)}, load("tiny"))
    assert seen_and_judged(layout, execution).treated is treated
    if name == "focal":  # label smoothing on a loss of a user's own
        base = layout.arms[1].recipe
        check(certificates(alone("ls,se", base), execution))
    monkeypatch.delitem(sys.modules, "hooked")


def test_a_hook_that_returns_nothing_is_told(execution, tmp_path, monkeypatch):
    (tmp_path / "hooked.py").write_text(HOOKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "hooked", raising=False)
    function = importlib.import_module("hooked").forgetful
    recipe = edit(load("tiny"), {"custom.forgetful": hook("optimizer", function)})
    with pytest.raises(RecipeError, match=r"forgetful\(\) returned NoneType, not Optimizer"):
        observe(recipe, execution)
    monkeypatch.delitem(sys.modules, "hooked")


@pytest.mark.parametrize("leaves", [{"model.width": 0.5}, {"model.layers": (1, 2, 1, 1)}])
def test_other_widths_and_depths_pass(leaves, execution):
    assert seen_and_judged(setting(leaves, load("tiny")), execution).treated


def test_a_streamed_crop_changes_the_inputs_only(execution):
    base = {"data.stored_size": 0, "data.crop": "random_resized", "data.crop_area": 0.5}
    layout = setting({"data.crop_area": 0.1}, edit(load("tiny"), base))
    found = seen_and_judged(layout, execution)
    assert found.treated, found.wrong
    assert "training forward" in found.unchanged


def test_averaging_leaves_the_raw_predictions_as_they_are(base_seen, execution):
    found = judged("ema", base_seen, execution)[1]
    assert {"trained weights", "raw predictions", "gradients"} <= set(found.unchanged)
    assert "reported predictions" in found.changed


def test_what_a_component_changes_is_its_kind_s_own(base_seen, execution):
    changed = {
        key: set(judged(key, base_seen, execution)[1].changed) for key in ("ls", "sd", "ra", "wd")
    }
    assert not {"training forward", "evaluation forward", "inputs"} & changed["ls"]
    assert "evaluation forward" not in changed["sd"]
    assert not {"training forward", "evaluation forward", "loss"} & changed["ra"]
    assert not {"gradients", "loss", "inputs"} & changed["wd"]


def test_every_leaf_that_a_component_may_write_has_a_signature():
    writable = {path for path, leaf in declarations().items() if leaf.kinds and leaf.hashed}
    assert writable == set(SIGNATURES)


def test_consequences_are_allowed_and_nothing_else():
    tiny = load("tiny")
    found = allowed([signature("loss.label_smoothing", tiny, tiny)])
    assert {"loss", "gradients", "trained weights", "reported predictions"} <= found
    assert not {"inputs", "training forward", "learning rate", "modules"} & found
