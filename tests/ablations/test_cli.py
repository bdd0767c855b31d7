"""The command line as a user meets it: what it answers, where, and with which exit code."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ablations.cli import COMMANDS
from ablations.designs import DESIGNS
from ablations.version import own_version
from lightning_modules.data import DATA_FORMATS
from recipes import load, loads, parse, published, stack
from recipes.components import BUNDLES, TABLE
from recipes.library import names
from recipes.tree import declarations
from tests.ablations.conftest import (
    ABLATE,
    QUICK,
    REQUEST,
    Finished,
    Said,
    ablate,
    snapshot,
)

Call = Callable[..., Said]

TOP = [
    "schema_version", "study", "design", "metric", "protocol", "data", "seeds", "base", "bases",
    "contrasts", "split", "runs", "notes",
]  # fmt: skip
CONTRAST = [
    "label", "base", "component", "kind", "outcome", "edits", "control", "treatment", "estimand",
    "delta", "interval", "level", "n", "error_df", "verdict", "p", "p_holm", "cost",
]  # fmt: skip
COST = ["params", "macs", "train_images_per_second", "peak_memory_bytes", "seconds"]
ESTIMATE = ["delta", "interval", "n", "verdict"]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_the_result_and_names_every_option(command: str, call: Call) -> None:
    said = call(*command.split(), "--help")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("usage: ablate")
    if not command:
        assert all(f"    {name} " in said.out for name in COMMANDS)
        assert all(f"{code} " in said.out for code in ("0", "1", "2", "130"))


def test_the_version_is_told(call: Call) -> None:
    assert call("--version").out == f"ablate {own_version()}\n"


@pytest.mark.parametrize(
    ("what", "held"),
    [
        ("components", [*TABLE, *BUNDLES]),
        ("recipes", names()),
        ("designs", DESIGNS),
        ("data", [known.form for known in DATA_FORMATS.values()]),
        ("leaves", declarations()),
        ("published", published.names()),
    ],
)
def test_a_list_names_everything(what: str, held: list[str], call: Call) -> None:
    said = call("list", what)
    assert (said.code, said.err) == (0, "")
    assert all(re.search(rf"^\s*{re.escape(name)}\b", said.out, re.MULTILINE) for name in held)
    if what == "components":
        assert call("list").out == said.out


def test_the_library_is_listed_with_what_it_costs(call: Call) -> None:
    said = call("list", "recipes").out
    assert "ResNet-RS-50 at 160 pixels: 35.7 M parameters, 2.28 G multiply-adds\n" in said
    assert "expected: 78.8 top-1 on ImageNet validation at 160 pixels" in said
    assert "; to be doubted outside 77.8 to 79.8\n" in said


def test_studies_are_listed_and_their_standing_shown(
    finished: Finished, home: Path, call: Call
) -> None:
    assert call("list", "studies", "--home", home).out == f"{finished.study}\n"
    shown = call("status", "--home", home)
    assert shown.out == call("status", finished.study, "--home", home).out
    assert "tiny + ls,se on digits, 8 runs: 8 finished" in shown.out
    for row in finished.said.json["runs"]:
        assert f"{row['value']:.2f}" in shown.out


def test_a_recipe_is_shown_as_yaml_that_is_read_back(call: Call) -> None:
    shown = call("show", "tiny", "--add", "ls,se", "--set", "optim.lr=0.25")
    recipe = loads(shown.out)
    assert recipe.optim.lr == 0.25
    assert recipe.loss.label_smoothing == 0.1
    assert recipe.model.se_ratio == stack(load("tiny"), parse("se")).model.se_ratio
    fitted = call("show", "resnet200", "--data", "digits")
    assert loads(fitted.out).data.dataset == "digits"
    assert "data profile digits" in fitted.err


def test_recipes_runs_and_studies_are_compared(finished: Finished, home: Path, call: Call) -> None:
    recipes = call("diff", "tiny", "resnet50", "--home", home)
    assert recipes.code == 0
    assert "model.backbone: resnet18 -> resnet50" in recipes.out

    runs = {(row["arm"], row["seed"]): row for row in finished.said.json["runs"]}
    base, smooth = runs["base", 0], runs["ls", 0]
    found = call("diff", base["id"], smooth["id"][:8], "--home", home).out
    assert "loss.label_smoothing: 0 -> 0.1" in found
    assert f"top1: {base['value']:.6g} -> {smooth['value']:.6g}" in found
    assert re.search(r"predictions\n  differ on \d+ of \d+ images", found)
    assert "  differ on 0 of" in call("diff", base["id"], base["id"], "--home", home).out

    said = call(*REQUEST, "--design", "one-at-a-time", "--format", "json", "--home", home)
    found = call("diff", finished.study, said.json["study"], "--home", home).out
    assert "leaves\n  none" in found
    assert "full arms\n  none" not in found  # ls,se there, and one of them here
    assert re.search(r"base, seed 0: differ on 0 of \d+ images", found)
    assert re.search(r"seconds: [\d.]+ -> [\d.]+", found)
    assert f"base: {finished.said.json['base']['value']:.6g} ->" in found


def test_the_json_object_keeps_its_contract(finished: Finished) -> None:
    found = finished.said.json
    assert list(found) == TOP
    assert list(found["base"]) == ["recipe", "value", "interval", "n"]
    assert found["bases"] == [found["base"]]
    assert [list(row) for row in found["contrasts"]] == [CONTRAST] * 2
    assert all(list(row["cost"]) == COST for row in found["contrasts"])
    assert list(found["split"]["by_ladder"]) == ["training", "architecture"]
    assert list(found["split"]["by_blocks"]) == ["training", "architecture", "interaction"]
    sides = [*found["split"]["by_ladder"].values(), *found["split"]["by_blocks"].values()]
    assert all(list(side) == ESTIMATE for side in sides)
    keys = ["id", "arm", "seed", "status", "value", "seconds"]
    assert all(list(row) == keys for row in found["runs"])
    assert found["data"] == "digits"
    assert any("digits demonstration" in note for note in found["notes"])


def test_the_split_sums_to_the_whole_effect(finished: Finished) -> None:
    found = finished.said.json
    means = {}
    for row in found["runs"]:
        means.setdefault(row["arm"], []).append(row["value"])
    mean = {arm: sum(values) / len(values) for arm, values in means.items()}
    whole = mean["ls,se"] - mean["base"]
    for way in ("by_ladder", "by_blocks"):
        sides = found["split"][way]
        total = sides["training"]["delta"] + sides["architecture"]["delta"]
        assert total == pytest.approx(whole)
    interaction = mean["ls,se"] - mean["ls"] - mean["se"] + mean["base"]
    assert found["split"]["by_blocks"]["interaction"]["delta"] == pytest.approx(interaction)


@pytest.mark.parametrize(
    ("form", "begins"),
    [
        ("table", "top1 in percent on the digits demonstration"),
        ("json", "{"),
        ("markdown", ""),
        ("csv", "study,data,label,base,component"),
    ],
)
def test_a_report_is_the_same_on_stdout_and_in_a_file(
    form: str, begins: str, finished: Finished, home: Path, call: Call, tmp_path: Path
) -> None:
    words = ("report", finished.study, "--format", form, "--home", home)
    printed, path = call(*words), tmp_path / "report"
    assert (printed.code, printed.err) == (0, "")
    written = call(*words, "-o", path)
    assert (written.code, written.out) == (0, "")
    assert path.read_text() == printed.out
    assert printed.out.startswith(begins)
    assert printed.out.endswith("\n")
    assert not printed.out.endswith("\n\n")


def test_a_report_into_a_pipe_leaves_the_pipe(
    finished: Finished, home: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    words = ("report", finished.study, "--home", str(home), "-o", str(pipe))
    process = subprocess.Popen([*ABLATE, *words])
    assert pipe.read_text().startswith("top1 in percent")
    assert process.wait(60) == 0
    assert pipe.is_fifo()


def test_a_report_that_cannot_be_written_is_told(
    finished: Finished, home: Path, call: Call, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file/report"):
        said = call("report", finished.study, "--home", home, "-o", path)
        assert (said.code, said.out) == (2, "")
        assert f"{path} cannot be written" in said.err


def test_a_plan_says_what_would_run_and_trains_nothing(home: Path, call: Call) -> None:
    before = snapshot(home)
    (home / "cache/speed.json").write_text("[1")  # a damaged memory is made anew
    words = (*REQUEST, "--seeds", "3", "--home", home, "--format", "json")
    said = call("plan", *words)
    assert said.code == 0, said.err
    assert (said.json["runs"], said.json["missing"]) == (12, 4)
    assert all(arm["missing"] == 1 for arm in said.json["arms"])
    assert all(arm["seconds_per_run"] > 0 for arm in said.json["arms"])
    assert snapshot(home) == before
    assert call(*words, "--dry-run").json == said.json
    table = call("plan", *words[:-2]).out
    assert "4 of 12 runs to train" in table
    assert "nothing was trained" in table
    assert snapshot(home) == before


def test_what_cannot_apply_is_said_and_not_trained(call: Call, tmp_path: Path) -> None:
    said = call(
        "plan", "--base", "tiny", "--add", "ls,wd(1e-4)", *QUICK, "--format", "json", "--seeds", "1"
    )
    rows = {row["label"]: row for row in said.json["contrasts"]}
    (other,) = (row for label, row in rows.items() if label.startswith("+wd"))
    assert other["outcome"] == "already_present"
    assert len(said.json["arms"]) == 2
    alone = call("--base", "tiny", "--add", "wd(1e-4)")
    assert alone.code == 2
    assert "changes anything here" in alone.err


def test_a_study_file_is_the_same_request(finished: Finished, home: Path, call: Call) -> None:
    path = Path("study.yaml")
    path.write_text(
        "base: tiny\nadd: ls,se\nseeds: 2\nsettings: [optim.epochs=1, optim.warmup_epochs=0]\n"
    )
    said = call("run", path, "--track", "none", "--format", "json", "--home", home)
    assert (said.code, said.out) == (0, finished.said.out)
    # An option wins over the file.
    other = call("plan", path, "--seeds", "1", "--format", "json", "--home", home)
    assert other.json["seeds"] == [0]


def test_personal_defaults_are_read_and_options_win(
    finished: Finished, home: Path, tmp_path: Path
) -> None:
    config = tmp_path / ".config/ablate.yaml"
    config.parent.mkdir()
    variables = {"HOME": str(tmp_path)}

    def said(*words: str | Path) -> Said:
        return ablate(*words, folder=tmp_path, variables=variables)

    config.write_text("# nothing yet\n")
    assert "no study in" in said("list", "studies").out
    config.write_text("home: ~/home\ntrack: none\n")
    assert said("list", "studies").out == f"{finished.study}\n"
    assert "no study in" in said("list", "studies", "--home", "elsewhere").out
    config.write_text(f"home: {home}\ndata: imagefolder:gone\n")
    assert "gone does not exist" in said(*REQUEST).err
    assert said(*REQUEST, "--data", "digits", "--dry-run").code == 0
    for text, told in [
        ("hoem: x", "unknown 'hoem'; did you mean 'home'"),
        ("home: 3", "home = 3 is not a text"),
        ("track: mlflow", "track = 'mlflow': choose from wandb, tensorboard, csv, none, or"),
        ("home: [", "not well-formed YAML"),
    ]:
        config.write_text(text)
        wrong = said("list", "studies")
        assert (wrong.code, wrong.out) == (2, "")
        assert told in wrong.err
        assert "ablate.yaml" in wrong.err


@pytest.mark.parametrize("words", [("list", "components"), ("--help",)])
def test_a_reader_that_leaves_is_no_error(words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*ABLATE, *words],
        stdout=writing,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_disk_is_told() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*ABLATE, "list", "components"],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": ""},
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "ablate: the result cannot be written: No space left on device\n"
