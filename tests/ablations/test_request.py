from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from ablations import RequestError
from ablations.request import MAX_SEEDS, Request, from_plain
from recipes.identity import digest

REQUEST = Request(
    base="tiny",
    add="ra(magnitude=15),ls",
    design="factorial",
    seeds=5,
    data="imagefolder:some folder",
    settings=("optim.lr=0.1", "optim.epochs=2"),
    skip_corrupt=True,
    recipe_of="resnet_rs",
)


def test_a_request_survives_its_plain_form() -> None:
    assert from_plain(REQUEST.plain(), "here") == REQUEST


def test_defaults_are_those_of_the_command_line() -> None:
    assert from_plain({"base": "tiny", "add": "ls"}, "here") == Request(base="tiny", add="ls")


@pytest.mark.parametrize(
    "change",
    [
        {"base": "resnet50"},
        {"add": "ls"},
        {"design": "ladder"},
        {"seeds": 4},
        {"data": None},
        {"settings": ("optim.epochs=2", "optim.lr=0.1")},
        {"skip_corrupt": False},
        {"recipe_of": "efficientnet_rs"},
        {"recipe_of": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_part_of_a_request_is_in_its_name(change: dict[str, Any]) -> None:
    assert dataclasses.replace(REQUEST, **change).name() != REQUEST.name()
    assert dataclasses.replace(REQUEST).name() == REQUEST.name()


def test_a_question_or_a_budget_without_a_design_is_for_auto() -> None:
    assert Request(base="tiny", add="ls").design == "ladder"
    assert Request(base="tiny", add="ls", question="alone").design == "auto"
    assert Request(base="tiny", add="ls", budget=12).design == "auto"
    assert Request(base="tiny", add="ls", design="bracket", question="alone").design == "bracket"
    for more in ({"question": "alone"}, {"budget": 12}):
        request = from_plain({"base": "tiny", "add": "ls", **more}, "here")
        assert (
            from_plain(request.plain(), "here") == request == Request(base="tiny", add="ls", **more)
        )


def test_studies_from_before_there_were_families_keep_their_names() -> None:
    request = Request(base="tiny", add="ls,se", seeds=5, settings=("optim.lr=0.1",))
    # The digest of these seven keys, as it was made then.
    then = {
        "base": "tiny",
        "add": "ls,se",
        "design": "ladder",
        "seeds": 5,
        "data": None,
        "settings": ["optim.lr=0.1"],
        "skip_corrupt": False,
    }
    assert request.plain() == then
    assert request.name() == f"tiny-ladder-{digest(then)[:8]}"
    assert from_plain(then, "here") == request


@pytest.mark.parametrize("base", ["recipes/My own.yaml", "../../x.yaml", "ünï/cödé.yml", "a" * 300])
def test_a_name_is_a_plain_file_name(base: str) -> None:
    name = Request(base=base, add="ls").name()
    assert re.fullmatch(r"[\w-]+", name)
    assert len(name.encode()) < 200


@pytest.mark.parametrize("seeds", [0, -1, MAX_SEEDS + 1])
def test_an_impossible_number_of_seeds_is_told(seeds: int) -> None:
    with pytest.raises(RequestError, match=f"--seeds {seeds}: give a number from 1 to {MAX_SEEDS}"):
        Request(base="tiny", add="ls", seeds=seeds)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ([1], "does not hold a mapping with base and add"),
        ({"add": "ls"}, "base is missing"),
        ({"base": "tiny"}, "add is missing"),
        ({"base": "tiny", "add": "ls", "desing": "ladder"}, "unknown key 'desing'.*'design'"),
        ({"base": 3, "add": "ls"}, "base = 3 is not str"),
        ({"base": "tiny", "add": {"ls": 1}}, r"add = \{'ls': 1\} is not str"),
        ({"base": "tiny", "add": "ls", "seeds": "3"}, "seeds = '3' is not int"),
        ({"base": "tiny", "add": "ls", "seeds": True}, "seeds = True is not int"),
        ({"base": "tiny", "add": "ls", "data": 10}, "data = 10 is not a text such as cifar10:DIR"),
        ({"base": "tiny", "add": "ls", "recipe_of": 5}, "recipe_of = 5 is not a family such as re"),
        ({"base": "tiny", "add": "ls", "settings": "a=1"}, "settings = 'a=1' is not a list"),
        ({"base": "tiny", "add": "ls", "skip_corrupt": "yes"}, "skip_corrupt = 'yes' is not bool"),
    ],
)
def test_a_wrong_file_is_told_with_the_value(tree: Any, words: str) -> None:
    with pytest.raises(RequestError, match=f"here.*{words}"):
        from_plain(tree, "here")


def test_all_that_is_wrong_is_told_together() -> None:
    with pytest.raises(RequestError) as caught:
        from_plain({"bse": "tiny", "add": 1, "seeds": "x"}, "here")
    assert len(str(caught.value).splitlines()) == 4


def test_components_may_stand_in_a_list() -> None:
    listed = from_plain({"base": "tiny", "add": ["ls", "ra(magnitude=5)"]}, "here")
    assert listed == Request(base="tiny", add="ls,ra(magnitude=5)")
