from pathlib import Path

import pytest

from ablations.ledger import Ledger
from ablations.plans import Plan
from ablations.publishing import shown
from lightning_modules.files import write_json
from tests.ablations.made_up import frozen
from tests.ablations.publishing.conftest import EPOCHS, Study


def of_arm(study: Study, arm: str) -> dict[str, object]:
    run = next(run for run in study.runs if run.arm == arm)
    return shown.configuration(study.plan, run, study.ledger)


def test_arms_are_told_apart_by_components_side_and_step(study: Study) -> None:
    found = {run.arm: of_arm(study, run.arm) for run in study.runs}
    told = {arm: (one["side"], one["step"]) for arm, one in found.items()}
    assert told["base"] == ("none", 0)
    assert told["ls"] == ("training", 1)
    assert told["ls,se"] == ("both", 2)
    assert told["ls,se,do"] == ("both", 3)
    assert told["se"] == ("architecture", None)  # of the split, not of the ladder
    for arm, one in found.items():
        own = {key for key in ("ls", "se", "do") if one[f"component/{key}"]}
        assert own == set() if arm == "base" else own == set(arm.split(","))


def test_the_recipe_is_whole_and_goes_by_levels(study: Study) -> None:
    from recipes.text import plain
    from recipes.tree import leaves

    recipe = of_arm(study, "ls")["recipe"]
    for path, value in plain(leaves(study.plan.layout.arm("ls").recipe)).items():
        found = recipe
        for name in path.split("."):
            assert isinstance(found, dict)
            found = found[name]
        assert found == value


def test_identities_are_of_a_study_and_a_run(study: Study) -> None:
    runs = {run.id for run in study.runs}
    found = {shown.identity_of(name, run) for name in ("mine", "other") for run in runs}
    assert len(found) == 2 * len(runs)
    assert found == {shown.identity_of(name, run) for name in ("mine", "other") for run in runs}


def test_a_row_that_is_half_written_is_not_shown_yet(study: Study) -> None:
    run = study.runs[0]
    assert shown.rows_of(run, study.ledger) == []
    study.begin(run, 2)
    path = study.ledger.run_folder(run.id) / "metrics.jsonl"
    whole = shown.rows_of(run, study.ledger)
    assert [row["epoch"] for row in whole] == [1, 2]
    assert "train/loss" in whole[0] and "train/loss" not in whole[1]  # not finite: left out
    path.write_text(path.read_text() + '{"epoch": 3, "st')
    assert shown.rows_of(run, study.ledger) == whole


def test_a_damaged_row_spoils_no_other(study: Study) -> None:
    run = study.runs[0]
    study.begin(run, EPOCHS)
    whole = shown.rows_of(run, study.ledger)
    path = study.ledger.run_folder(run.id) / "metrics.jsonl"
    first, *others = path.read_bytes().splitlines(keepends=True)
    odd = [b"\xff{\n", b"[1]\n", b'{"epoch": 1, "st\n', b'{"step": "six"}\n', b"\n"]
    path.write_bytes(b"".join([first, *odd, *others]))
    assert shown.rows_of(run, study.ledger) == whole


@pytest.mark.parametrize("longest", [16, 64, 128])
def test_long_names_are_cut_and_stay_distinct(longest: int) -> None:
    texts = ["a" * length + end for length in range(longest - 2, 3 * longest) for end in ("", "b")]
    found = [shown.cut(text, longest) for text in texts]
    assert len(set(found)) == len(set(texts))
    assert all(len(one) <= longest for one in found)
    assert all(one == text for one, text in zip(found, texts, strict=True) if len(text) <= longest)


def test_names_are_no_longer_than_the_service_takes(study: Study) -> None:
    from dataclasses import replace

    run = replace(study.runs[0], arm=",".join(f"wd(value={number}e-4)" for number in range(20)))
    odd = replace(study.plan.layout.arms[0], name=run.arm)
    layout = replace(study.plan.layout, arms=(*study.plan.layout.arms, odd))
    plan = replace(study.plan, layout=layout, study="s" * 200)
    about = shown.tracked_run(plan, run, 2)
    assert (len(about.study), len(about.arm), len(about.name)) == (128, 64, 128)
    assert about.name.endswith(f" seed {run.seed} attempt 2")
    assert shown.configuration(plan, run, study.ledger)["arm"] == run.arm
    key = "a.package.of.mine." * 4 + "module:Component"
    assert len(shown.tag_of(key)) == 64


@pytest.mark.parametrize(
    ("certificates", "proven", "words"),
    [
        ([], False, ""),
        ([{"parent": None, "treated": True}], True, "the base, against its own leaves"),
        (
            [{"parent": "base", "treated": True, "changed": {"loss": "x", "targets": "y"}}],
            True,
            "against base: loss, targets",
        ),
        ([{"parent": "base", "treated": False, "wrong": ["no loss"]}], False, "wrong: no loss"),
    ],
)
def test_what_is_proven_is_said(
    study: Study, certificates: list[dict[str, object]], proven: bool, words: str
) -> None:
    run = study.runs[0]
    path = study.ledger.run_folder(run.id) / "certificate.json"
    write_json(path, {"schema_version": 1, "certificates": certificates})
    found = shown.proof_of(run, study.ledger)
    assert found["certificate/proven"] is proven
    assert words in found["certificate/words"]
    path.write_text("{")
    assert shown.proof_of(run, study.ledger)["certificate/proven"] is False


def test_a_plan_with_a_component_of_somebodys_own_is_shown(tmp_path: Path) -> None:
    from ablations.frozen import thaw
    from recipes.yaml import dump_tree, read_text, read_tree

    frozen(tmp_path, until=None, design="ladder", seeds=1)
    path = tmp_path / "studies/mine/plan.yaml"
    tree = read_tree(read_text(path), "plan")
    for arm in tree["arms"]:
        arm["components"] = ["evil:Blur" if one == "ls" else one for one in arm["components"]]
    for one in tree["contrasts"]:
        one["label"] = "+evil:Blur" if one["label"] == "+ls" else one["label"]
    path.write_text(dump_tree(tree))
    plan: Plan = thaw(path.parent)[0]
    run = next(run for run in plan.runs if run.arm == "ls")
    config = shown.configuration(plan, run, Ledger(tmp_path))
    assert config["component/evil:Blur"] is True and config["side"] == "training"
    assert set(shown.tracked_run(plan, run).tags) == {"evil:Blur", "regularization"}
