import dataclasses
import json
import re
from typing import Any

import pytest

from ablations.certificate import Certificate, certify, check, pairs
from ablations.designs import DESIGNS, lay_out
from ablations.errors import RequestError
from lightning_modules.probe import observe
from recipes import Recipe, edit, load, parse
from recipes.components import TABLE, CosineLR
from tests.ablations.certified import alone, certificates, judged, on_digits
from tests.ablations.mutants import MUTANTS

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


@pytest.mark.parametrize("base", BACKBONES)
def test_every_genuine_component_passes(base, execution):
    found = certificates(alone("paper,null", on_digits(base)), execution)
    check(found)
    assert len(found) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("base", LARGER)
def test_every_genuine_component_passes_on_larger_backbones(base, execution):
    check(certificates(alone("paper", on_digits(base)), execution))


@pytest.mark.parametrize("design", ["ladder", "leave-one-out"])
def test_the_paper_passes_in_every_context(design, execution):
    layout = lay_out(design, load("tiny"), parse("paper,null"))
    found = certificates(layout, execution)
    check(found)
    assert {one.arm for one in found} == {arm.name for arm in layout.arms} | {"base"}


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


@pytest.mark.parametrize("design", DESIGNS)
def test_every_arm_of_every_design_is_proven(design):
    layout = lay_out(design, load("tiny"), parse("ls,sd,se,resnetd"))
    found = pairs(layout)
    assert {arm.name for _, arm in found} | {"base"} == {arm.name for arm in layout.arms}
    assert all(parent.name != arm.name for parent, arm in found)
    if design == "factorial":  # on the base, and on the full arm without it
        names = {(parent.name, arm.name) for parent, arm in found}
        assert ("base", "ls") in names and ("sd,se,resnetd", "ls,sd,se,resnetd") in names


def test_a_screen_is_proven_arm_by_arm(execution):
    layout = lay_out("screen", load("tiny"), parse("ls,sd,ra,se,resnetd"), budget=10)
    found = pairs(layout)
    full = layout.arms[1].name
    parents = {arm.name: parent for parent, arm in found if arm.name == full}
    assert len(parents[full].components) == 3  # the fullest that it contains
    assert all(set(parent.components) < set(arm.components) for parent, arm in found)
    check(certificates(layout, execution))


def test_a_treatment_that_does_nothing_is_found_among_others(execution, monkeypatch):
    layout = lay_out("screen", load("tiny"), parse("ls,sd,ra,se,resnetd"), budget=10)
    with monkeypatch.context() as patch:
        MUTANTS["ra"][1]["nothing"](patch)
        found = certificates(layout, execution)
    for one in found[1:]:
        arm = layout.arm(one.arm)
        assert one.treated != any(component.key == "ra" for component in arm.components)


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
