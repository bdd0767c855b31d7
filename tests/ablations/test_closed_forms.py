import pytest

from ablations.certificate import check
from ablations.designs import lay_out
from recipes import edit, load, parse
from tests.ablations.certified import (
    alone,
    certificates,
    judged,
    on_digits,
    seen_and_judged,
    setting,
)
from tests.ablations.mutants import ELSEWHERE


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


def test_what_is_not_finite_is_not_called_unchanged(execution):
    seen = certificates(alone("ema", edit(load("tiny"), {"optim.lr": 1e30})), execution)[1]
    assert seen.treated, seen.wrong
    assert "raw predictions" not in {*seen.unchanged, *seen.changed}
    assert "training forward" in seen.unchanged


def test_dropout_of_a_backbones_own_is_not_the_recipes(execution):
    check(certificates(alone("do,ls", on_digits("test_vit_relpos")), execution))


def test_knobs_that_nobody_turns_are_seen(base_seen, execution, monkeypatch):
    from lightning_modules.classifier import Classifier

    monkeypatch.setattr(Classifier, "configure_callbacks", lambda self: [])
    found = judged("ls(epsilon=linear(0.1, 0.2))", base_seen, execution)
    assert "loss.label_smoothing" in found[1].wrong[0]
