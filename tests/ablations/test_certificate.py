import dataclasses
import functools
import importlib
import json
import re
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from ablations.bases import fit_to_data, resolve
from ablations.certificate import Certificate, certify, check, pairs
from ablations.designs import DESIGNS, lay_out
from ablations.errors import RequestError
from ablations.plans import Arm, Layout, Split
from ablations.signatures import SIGNATURES, allowed, signature
from lightning_modules import Execution
from lightning_modules.data import data_facts, parse_data
from lightning_modules.probe import observe
from recipes import Component, Kind, Recipe, RecipeError, edit, hook, load, parse
from recipes.components import TABLE, CosineLR
from recipes.tree import declarations
from tests.ablations.mutants import ELSEWHERE, MUTANTS

# Of as many families, the smallest that timm has; the library's own stands for ResNet.
BACKBONES = (
    "tiny",
    "test_efficientnet",
    "test_convnext",
    "test_vit",
    "test_byobnet",
    "test_nfnet",
    "regnetx_002",
)
LARGER = (
    "efficientnet_b0",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "densenet121",
    "resnext50_32x4d",
    "mobilenetv3_small_100",
)


@pytest.fixture(scope="session")
def execution(tmp_path_factory: pytest.TempPathFactory) -> Execution:
    return Execution(cache=tmp_path_factory.mktemp("cache"), threads=1)


@functools.cache
def on_digits(base: str) -> Recipe:
    return fit_to_data(resolve(base), data_facts(parse_data("digits"), None))[0]


def certificates(layout: Layout, execution: Execution) -> list[Certificate]:
    return certify(layout, {arm.name: observe(arm.recipe, execution) for arm in layout.arms})


def alone(spec: str, base: Recipe | None = None) -> Layout:
    return lay_out("one-at-a-time", base or load("tiny"), parse(spec))


@pytest.mark.parametrize("base", BACKBONES)
def test_every_genuine_component_passes(base, execution):
    found = certificates(alone("paper", on_digits(base)), execution)
    check(found)
    assert len(found) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("base", LARGER)
def test_every_genuine_component_passes_on_larger_backbones(base, execution):
    check(certificates(alone("paper", on_digits(base)), execution))


@pytest.mark.parametrize("design", ["ladder", "leave-one-out"])
def test_the_paper_passes_in_every_context(design, execution):
    layout = lay_out(design, load("tiny"), parse("paper"))
    found = certificates(layout, execution)
    check(found)
    assert {one.arm for one in found} == {arm.name for arm in layout.arms} | {"base"}


@pytest.fixture(scope="module")
def base_seen(execution: Execution) -> Any:
    return observe(load("tiny"), execution)


def judged(spec: str, base_seen: Any, execution: Execution) -> list[Certificate]:
    layout = alone(spec)
    arm = layout.arms[1]
    return certify(layout, {"base": base_seen, arm.name: observe(arm.recipe, execution)})


@pytest.mark.parametrize("key", TABLE)
def test_a_moving_component_passes_while_it_moves(key, base_seen, execution):
    check(judged(MUTANTS[key][0], base_seen, execution))


@pytest.mark.parametrize(
    "spec",
    [
        "resnetd(parts=stem+stride+shortcut)",
        "resnetd(parts=pool)",
        "resnetd(parts=shortcut)",
        "ra(wrap=false)",
        "ra(space=timm)",
        "ra(space=timm, magnitude=30)",
        "ra(space=torchvision, magnitude=9)",
        "sd(rule=linear)",
        "ema(warmup=false)",
    ],
)
def test_a_component_with_arguments_passes(spec, base_seen, execution):
    check(judged(spec, base_seen, execution))


@pytest.mark.parametrize("way", ["nothing", "twice", "stuck", "rate"])
@pytest.mark.parametrize("key", TABLE)
def test_no_mutant_passes(key, way, base_seen, execution, monkeypatch):
    spec, ways = MUTANTS[key]
    spec = spec if way == "stuck" else key  # a knob that moves would mend the others
    with monkeypatch.context() as patch:
        ways[way](patch)
        found = judged(spec, base_seen, execution)
    assert found[0].treated  # the base was looked at whole
    assert not found[1].treated
    named = (
        "optim.lr"
        if way == "rate"
        else "|".join([*found[1].declared, "optim.lr and its", "first batches"])
    )
    assert re.search(named, "\n".join(found[1].wrong))  # refused for what was broken
    with pytest.raises(RequestError, match="nothing was trained"):
        check(found)


@dataclass(frozen=True)
class Sets(Component):
    """Sets leaves."""

    key = "sets"
    leaves: tuple[tuple[str, Any], ...] = ()
    kind = Kind.TRAINING

    def edits(self, recipe: Recipe) -> Any:
        return dict(self.leaves)


def setting(leaves: dict[str, Any], base: Recipe) -> Layout:
    """The layout of one arm with these leaves, of whichever kind."""
    component = Sets(tuple(leaves.items()))
    arms = (
        Arm(name="base", recipe=base),
        Arm(name="sets", recipe=edit(base, leaves), components=(component,)),
    )
    return Layout(
        design="one-at-a-time",
        arms=arms,
        contrasts=(),
        split=Split(by_ladder={"training": {}, "architecture": {}}, by_blocks=None),
    )


def seen_and_judged(layout: Layout, execution: Execution) -> Certificate:
    with pytest.MonkeyPatch.context() as patch:  # of any kind, for the sake of the test
        patch.setattr("recipes.component._check_kind", lambda *_: None)
        return certificates(layout, execution)[1]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_breaks_elsewhere_are_seen(name, execution, monkeypatch):
    leaves, mutate = ELSEWHERE[name]
    layout = setting(leaves, load("tiny"))
    assert seen_and_judged(layout, execution).treated
    with monkeypatch.context() as patch:
        mutate(patch)
        assert not seen_and_judged(layout, execution).treated


@pytest.mark.parametrize(
    ("settings", "spec"),
    [
        ({"optim.precision": "bf16"}, "ema,ls,se"),
        ({"optim.grad_clip": 0.5}, "se,resnetd"),
        ({"optim.momentum": 0.0, "optim.nesterov": False, "optim.weight_decay": 0.0}, "cos,sd"),
        (
            {
                "optim.optimizer": "adamw",
                "optim.lr": 1e-3,
                "optim.second_moment": 0.999,
                "optim.epsilon": 1e-8,
                "optim.nesterov": False,
                "optim.decay_scope": "all",
            },
            "ema,wd,sd",
        ),
        ({"data.stored_size": 0, "data.crop": "random_resized", "data.crop_area": 0.5}, "ra,se"),
        ({"optim.epochs": 1, "optim.warmup_epochs": 1}, "cos,ema,ls"),
        ({"optim.lr": 4000.0}, "ema,se"),
    ],
)
def test_unusual_bases_pass(settings, spec, execution):
    check(certificates(lay_out("ladder", edit(load("tiny"), settings), parse(spec)), execution))


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


def test_dropout_of_a_backbones_own_is_not_the_recipes(execution):
    check(certificates(alone("do,ls", on_digits("test_vit_relpos")), execution))


def test_knobs_that_nobody_turns_are_seen(base_seen, execution, monkeypatch):
    from lightning_modules.classifier import Classifier

    monkeypatch.setattr(Classifier, "configure_callbacks", lambda self: [])
    found = judged("ls(epsilon=linear(0.1, 0.2))", base_seen, execution)
    assert "loss.label_smoothing" in found[1].wrong[0]


def test_an_arm_that_is_its_parent_under_another_name_is_refused(base_seen):
    layout = alone("ls")
    arm = layout.arms[1]
    same = dataclasses.replace(arm, recipe=layout.arms[0].recipe)
    tampered = dataclasses.replace(layout, arms=(layout.arms[0], same))
    found = certify(tampered, {"base": base_seen, arm.name: base_seen})
    assert "no leaf differs" in found[1].wrong[0]


def test_a_leaf_that_no_component_sets_is_refused(base_seen, execution):
    layout = alone("ls")
    arm = layout.arms[1]
    more = dataclasses.replace(arm, recipe=edit(arm.recipe, {"optim.lr": 0.2}))
    tampered = dataclasses.replace(layout, arms=(layout.arms[0], more))
    found = certify(tampered, {"base": base_seen, arm.name: observe(more.recipe, execution)})
    assert "optim.lr went from 0.4 to 0.2, which no component of it sets" in found[1].wrong


class CosineAndRate(CosineLR):
    """A version that also touches the learning rate; its card is the parent's."""

    __doc__ = CosineLR.__doc__

    def edits(self, recipe: Recipe) -> Any:
        return {**super().edits(recipe), "optim.lr": 0.2}


def test_a_component_may_set_only_what_its_card_names(base_seen, execution):
    layout = lay_out("one-at-a-time", load("tiny"), [CosineAndRate()])
    arm = layout.arms[1]
    found = certify(layout, {"base": base_seen, arm.name: observe(arm.recipe, execution)})
    assert re.match("sets optim.lr, which the card of .* does not name", found[1].wrong[0])


def test_a_change_beside_the_declared_one_is_named(base_seen, execution):
    layout = alone("ls")
    arm = layout.arms[1]
    flipped = edit(arm.recipe, {"data.flip": True})
    found = certify(layout, {"base": base_seen, arm.name: observe(flipped, execution)})
    assert any(problem.startswith("inputs changed too") for problem in found[1].wrong)


def test_an_observation_is_the_same_again(base_seen, execution):
    assert observe(load("tiny"), execution) == base_seen
    assert json.loads(json.dumps(base_seen)) == base_seen


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


@pytest.mark.parametrize("design", DESIGNS)
def test_every_arm_of_every_design_is_proven(design):
    layout = lay_out(design, load("tiny"), parse("ls,sd,se,resnetd"))
    found = pairs(layout)
    assert {arm.name for _, arm in found} | {"base"} == {arm.name for arm in layout.arms}
    assert all(parent.name != arm.name for parent, arm in found)
    if design == "factorial":  # on the base, and on the full arm without it
        names = {(parent.name, arm.name) for parent, arm in found}
        assert ("base", "ls") in names and ("sd,se,resnetd", "ls,sd,se,resnetd") in names


def test_a_certificate_is_plain_json(base_seen, execution):
    for one in judged("ls", base_seen, execution):
        plain = one.plain()
        assert json.loads(json.dumps(plain)) == plain
        assert plain["treated"] is True


def test_a_refusal_says_what_was_expected_and_what_was_seen():
    wrong = Certificate(
        arm="ls",
        parent="base",
        components=("ls",),
        declared={},
        changed={},
        unchanged=(),
        wrong=("loss did not change",),
    )
    with pytest.raises(RequestError, match=r"(?s)nothing was trained.*ls \(against base\): loss"):
        check([wrong])
