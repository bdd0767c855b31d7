"""`--recipe-of` as a user meets it: the published recipe on any base, before data and settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ablations import plan
from ablations.bases import resolve, with_recipe_of
from ablations.frozen import freeze, thaw
from recipes import RecipeError, diff, dumps, edit, fingerprint, leaves, load, loads
from recipes.library import names
from tests.ablations.conftest import Said

Call = Callable[..., Said]

RESNET_RS = [name for name in names() if name.startswith("resnet_rs_")]
EFFICIENTNET_RS = [name for name in names() if name.startswith("efficientnet_rs_")]


@pytest.mark.parametrize("name", RESNET_RS + EFFICIENTNET_RS)
def test_base_family_and_resolution_give_the_published_recipe(name: str, call: Call) -> None:
    family, _, rest = name.partition("_rs_")
    which, pixels = rest.split("_")
    base = f"resnet{which}" if family == "resnet" else f"efficientnet_{which}"
    resolution = ("--set", f"data.resolution={pixels}")
    shown = call("show", base, "--recipe-of", f"{family}_rs", *resolution)
    assert shown.code == 0, shown.err
    found = loads(shown.out)
    assert fingerprint(found) == fingerprint(load(name))
    assert diff(found, load(name)) == {}
    assert f"recipe of {family}_rs for" in shown.err
    assert "beyond" not in shown.err


def test_what_the_user_sets_wins_over_the_rules(call: Call) -> None:
    words = ("show", "resnet200", "--recipe-of", "resnet_rs")
    own = ("--set", "model.drop_path=0.2", "--set", "augment.randaug_magnitude=7")
    found = loads(call(*words, *own).out)
    assert (
        leaves(found).items()
        >= {
            "model.drop_path": 0.2,
            "model.drop_path_rule": "stage",
            "augment.randaug_magnitude": 7.0,
            "model.dropout": 0.25,
        }.items()
    )
    shallow = loads(call("show", "resnet50", *words[2:], "--set", "model.drop_path=0.1").out)
    assert shallow.model.drop_path_rule == "stage"  # though the rule gives it none


@pytest.mark.parametrize(
    ("settings", "blocks"),
    [
        (("model.layers=[3, 24, 36, 3]",), 66),
        (("model.backbone=resnet200",), 66),
        (("model.backbone=resnet200", "model.layers=[4, 29, 53, 4]"), 90),
    ],
)
def test_the_rules_see_the_network_that_the_settings_leave(
    settings: tuple[str, ...], blocks: int, tmp_path: Path
) -> None:
    _, notes = with_recipe_of("resnet_rs", load("resnet50"), settings, None, tmp_path)
    assert f", {blocks} blocks, " in notes[0]
    assert "model.drop_path = 0.1" in notes[0]


def test_components_come_on_top(call: Call) -> None:
    words = ("show", "resnet50", "--recipe-of", "resnet_rs")
    found = loads(call(*words, "--add", "ra(magnitude=20),ls").out)
    assert found.augment.randaug_magnitude == 20


@pytest.mark.parametrize(
    ("base", "resolution", "magnitude"),
    [
        ("resnet50", None, 15),  # 224 pixels before the profile makes it 16
        ("resnet50", 160, 15),  # said of the digits, not of the paper's images
        ("resnet_rs_50_160", None, 10),
        ("tiny", None, 15),  # 16 pixels that stand for 256: the profile's own scale
        ("tiny", 24, 15),
    ],
)
def test_under_a_data_profile_the_rules_read_the_paper_s_scale(
    base: str, resolution: int | None, magnitude: float, call: Call
) -> None:
    words = ("show", base, "--recipe-of", "resnet_rs", "--data", "digits")
    more = ("--set", f"data.resolution={resolution}") if resolution else ()
    found = loads(call(*words, *more).out)
    assert found.augment.randaug_magnitude == magnitude
    assert found.data.resolution == (resolution or 16)
    assert found.augment.randaug_pixel_scale == found.data.resolution / 256
    assert (found.data.dataset, found.data.flip) == ("digits", False)
    assert found.optim.epochs == (100 if base == "tiny" else 5)
    assert found.optim.weight_decay == 4e-5


def test_a_backbone_takes_what_it_can_and_is_told_what_not(call: Call, tmp_path: Path) -> None:
    words = ("--recipe-of", "resnet_rs", "--home", tmp_path)
    shown = call("show", "convnext_atto", *words, "--set", "model.drop_path=0.1")
    assert shown.code == 0
    found = loads(shown.out)
    assert (found.model.se_ratio, found.model.resnet_d) == (0.0, False)
    assert found.model.dropout == 0.25
    assert "model.se_ratio is left out: timm's ConvNeXt takes no squeeze-and-exc" in shown.err
    assert "model.bn_momentum is left out: convnext_atto has no batch norm" in shown.err
    there = call("show", "efficientnet_b0", *words, "--set", "model.drop_path=0.1")
    assert "model.se_ratio is left as it is: timm's EfficientNet here has 16" in there.err
    unknown = call("show", "convnext_atto", *words)
    assert (unknown.code, unknown.out) == (2, "")
    assert "choose with --set model.drop_path=..." in unknown.err


def test_beyond_the_published_range_is_said(call: Call) -> None:
    said = call("show", "resnet50", "--recipe-of", "resnet_rs", "--set", "data.resolution=448")
    assert "a resolution of 448 is beyond the published range 160-320" in said.err
    assert loads(said.out).augment.randaug_magnitude == 15


@pytest.mark.parametrize("command", [("show", "tiny"), ("plan", "--base", "tiny", "--add", "ls")])
def test_an_unknown_family_is_one_message(command: tuple[str, ...], call: Call) -> None:
    said = call(*command, "--recipe-of", "resnet-rs")
    assert (said.code, said.out) == (2, "")
    assert said.err.splitlines() == [
        "ablate: --recipe-of 'resnet-rs': choose from resnet_rs, efficientnet_rs; did you mean"
        " 'resnet_rs' or 'efficientnet_rs'?"
    ]


def test_a_plan_is_of_the_base_with_the_recipe_and_says_so(tmp_path: Path) -> None:
    prepared = plan(
        "tiny", "ls,se,resnetd(parts=stem+stride)", recipe_of="resnet_rs", seeds=1, home=tmp_path
    )
    base = prepared.plan.layout.arms[0].recipe
    assert base.optim.ema_decay == 0.9999
    rows = {row.label: row.outcome for row in prepared.plan.layout.contrasts}
    assert list(rows.values()) == ["already_present", "already_present", "applied"]
    assert prepared.notes[0].startswith("recipe of resnet_rs for resnet18, 4 blocks, 256 pixels")
    assert prepared.notes[1] == "a bottleneck depth of 14 is beyond the published range 50-420"
    assert prepared.notes[0] in prepared.plan.notes  # and in the report
    freeze(prepared.plan, prepared.request, tmp_path / "study")
    frozen, request, _ = thaw(tmp_path / "study")
    assert request == prepared.request
    assert fingerprint(frozen.layout.arms[0].recipe) == fingerprint(base)
    plain = plan("tiny", "ls,se", seeds=1, home=tmp_path)
    assert plain.plan.study != prepared.plan.study


def test_a_study_file_may_name_the_family(call: Call) -> None:
    Path("study.yaml").write_text("base: tiny\nrecipe_of: resnet_rs\nadd: sd\nseeds: 1\n")
    words = ("plan", "study.yaml", "--format", "json", "--track", "none")
    said = call(*words)
    assert said.code == 0, said.err
    assert any(note.startswith("recipe of resnet_rs for") for note in said.json["notes"])
    option = call(
        "plan",
        *("--base", "tiny", "--recipe-of", "resnet_rs", "--add", "sd"),
        "--seeds",
        "1",
        "--format",
        "json",
        "--track",
        "none",
    )
    assert option.json["study"] == said.json["study"]


def test_settings_that_are_wrong_are_told_as_ever(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no leaf 'data.resolutoin'"):
        plan("tiny", "ls", recipe_of="resnet_rs", settings=["data.resolutoin=5"], home=tmp_path)


def test_a_base_from_a_file_gets_it_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(dumps(edit(load("resnet101"), {"optim.grad_clip": 1.0})))
    found, _ = with_recipe_of("resnet_rs", resolve(path), ["data.resolution=160"], None, None)
    found = edit(found, {"data.resolution": 160})
    assert fingerprint(found) == fingerprint(load("resnet_rs_101_160"))  # no clipping either
