"""A process that has torch answers for one that need not import it."""

from __future__ import annotations

import os
import sys

import pytest

from ablations.bases import probed_here, resolve
from ablations.errors import RequestError
from ablations.launch.server import ask
from recipes import RecipeError


def _has_torch() -> tuple[int, bool]:
    return os.getpid(), "torch" in sys.modules


def test_another_process_answers_and_has_torch():
    process, has_torch = ask(_has_torch)
    assert process != os.getpid()
    assert has_torch


def test_what_it_raises_is_raised_here():
    with pytest.raises(RecipeError, match=r"timm .* has no model 'resnet51'"):
        ask(probed_here, "resnet51")


def test_a_process_that_dies_is_told():
    with pytest.raises(RequestError, match=r"exit code 3"):
        ask(os._exit, 3)


def test_its_facts_are_those_of_a_probe_here(tmp_path):
    asked = resolve("test_resnet", tmp_path, lambda backbone: ask(probed_here, backbone))
    assert asked == resolve("test_resnet")
