"""The command line as a user meets it: what it answers, where, and with which exit code."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ablations.cli import COMMANDS
from ablations.commands import own_version
from ablations.designs import DESIGNS
from lightning_modules.data import DATA_FORMATS
from recipes import dumps, load, loads, parse, stack
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
    write_folders,
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

TINY = "--base tiny --add ls"

# The words after `ablate`, and what its one message must hold.
BAD = [
    ("", "give --base NAME --add COMPONENTS"),
    ("rnu --base tiny", "no command 'rnu'.*did you mean run"),
    ("study.yaml", "no command 'study.yaml'.*did you mean `run study.yaml`"),
    ("--base tiny", "--add is missing, as in ablate --base tiny --add"),
    ("--add ls", "--base is missing"),
    ("--base tiyn --add ls", "'tiyn'.*did you mean 'tiny'"),
    ("--base '' --add ls", "--base ''"),
    ("--base gone.yaml --add ls", "gone.yaml cannot be read: No such file"),
    ("--base tiny --add lz", "no component 'lz'.*did you mean 'ls'"),
    ("--base tiny --add ''", "names no component; choose from cos"),
    ("--base tiny --add ls,,sd", "leaves a component empty"),
    ("--base tiny --add ls,ls", "ls is named twice"),
    ("--base tiny --add 'ls(0.1'", "brackets do not close"),
    ("--base tiny --add 'ra(magnitud=3)'", "no argument 'magnitud'.*did you mean 'magnitude'"),
    ("--base tiny --add 'ls(epsilon=much)'", "epsilon = 'much'"),
    ("--base tiny --add 'ls(epsilon=7)'", "loss.label_smoothing = 7"),
    ("--base tiny --add nowhere:Thing", "no module 'nowhere'"),
    ("--base tiny --add ls,lz,zz --seeds 2", "'lz'(.|\n)*'zz'"),  # told together
    (f"{TINY} --set optim.lrr=1", "no leaf 'optim.lrr'.*did you mean 'optim.lr'"),
    (f"{TINY} --set optim.lr", "optim.lr"),
    (f"{TINY} --set optim.lr=fast", "optim.lr = 'fast'.*not a number"),
    (f"{TINY} --set optim.lr=-1", "optim.lr = -1"),
    (f"{TINY} --set data.batch_size=2.5", "data.batch_size = '2.5'.*not a whole number"),
    (f"{TINY} --set optim.schedule=steps", "optim.schedule = 'steps'.*step"),
    (f"{TINY} --set 'optim.lr=linear(1,0)'", "optim.lr = .*cannot move during training"),
    (f"{TINY} --set optim.lr=1 --set optim.lr=2", "optim.lr is set twice"),
    (f"{TINY} --set data.dataset=cifar10", "choose the data with --data"),
    (f"{TINY} --design laddr", "no design 'laddr'.*did you mean 'ladder'"),
    ("--base tiny --add paper --design factorial", "at most 6 components"),
    (f"{TINY} --data digit", "unknown data 'digit'.*Did you mean digits"),
    (f"{TINY} --data cifar10", "'cifar10' lacks its folder; write cifar10:DIR"),
    (f"{TINY} --data digits:x", "digits takes no folder"),
    (f"{TINY} --data imagefolder:gone", "folder .*gone does not exist"),
    (f"{TINY} --seeds 0", "--seeds 0: give a number from 1"),
    (f"{TINY} --seeds -3", "--seeds -3: give a number from 1"),
    (f"{TINY} --seeds some", "--seeds: 'some' is not a whole number"),
    (f"{TINY} --format jsn", "--format 'jsn': choose from table, json.*did you mean 'json'"),
    (f"plan {TINY} --format csv", "--format 'csv': a plan is shown as table or json"),
    (f"{TINY} --fromat json", "'--fromat' is not known here; did you mean --format"),
    (f"{TINY} --launch slrum", "--launch 'slrum'.*local"),
    (f"{TINY} --devices 2", "--devices 2"),
    (f"{TINY} --slots 0", "--slots 0: give 1 or more"),
    (f"{TINY} --device gpu", "--device 'gpu': choose auto, cpu, cuda"),
    (f"{TINY} --device cpu:1", "--device 'cpu:1': choose auto, cpu, cuda"),
    (f"{TINY} --device cuda:", "--device 'cuda:'"),
    (f"{TINY} --set data.batch_size=5000", "do not fill one batch of 5000"),
    (f"{TINY} --set data.train_fraction=0.0001", "no image of 10 of 10 classes"),
    (
        f"{TINY} --set data.crop=shift --set data.crop_padding=16",
        "crop_padding = 16 must be below data.resolution = 16",
    ),
    (f"{TINY} --keep best", "--keep: invalid choice: 'best'"),
    (f"{TINY} --track mlflow", "--track: invalid choice: 'mlflow'"),
    (f"{TINY} --rope -1", "--rope -1: give accuracy points above 0"),
    (f"{TINY} --rope nan", "--rope nan: give accuracy points above 0"),
    (f"{TINY} --study ../mine", "'../mine': use letters, digits"),
    (f"{TINY} --study ''", "'': use letters, digits"),
    (f"{TINY} --home ~nobody-of-this-name/home", "--home '~nobody.*no such user"),
    ("report mine", "there is no study 'mine'"),
    ("report ../mine", "'../mine': use letters, digits"),
    ("report", "required: STUDY"),
    ("status mine", "there is no study 'mine'"),
    ("extend mine --seeds 3", "there is no study 'mine'"),
    ("diff tiny nothing-like-it", "'nothing-like-it' is no run or study"),
    ("diff tiny", "required: B"),
    ("show tiyn", "did you mean 'tiny'"),
    ("show tiny --add lz", "no component 'lz'"),
    ("show tiny --set a.b=1", "no leaf 'a.b'"),
    ("list componets", "list 'componets': choose from.*did you mean 'components'"),
    ("run gone.yaml", "gone.yaml cannot be read: No such file"),
]


@pytest.mark.parametrize(("words", "told"), BAD, ids=[words or "nothing" for words, _ in BAD])
def test_bad_input_is_one_message_and_nothing_is_made(
    words: str, told: str, call: Call, tmp_path: Path
) -> None:
    said = call(*shlex.split(words))
    assert (said.code, said.out) == (2, "")
    message = said.err[said.err.index("ablate: ") :]
    assert re.search(told, message)
    assert "Traceback" not in said.err
    assert all(line.startswith(" ") for line in message.splitlines()[1:])  # one message
    home = tmp_path / "here/ablate-home"
    assert not any(home.glob("runs/*"))
    assert not any(home.glob("studies/*"))


@pytest.mark.parametrize(
    ("first", "second", "leaf"),
    [("cos", "mine:Step", "optim.schedule"), ("ls(0.1)", "mine:Smooth", "loss.label_smoothing")],
)
def test_two_components_that_write_different_values_are_refused(
    first: str, second: str, leaf: str, call: Call, tmp_path: Path
) -> None:
    kind = "REGULARIZATION" if "loss" in leaf else "TRAINING"
    value = "0.3" if "loss" in leaf else "'step'"
    class_name = second.partition(":")[2]
    (tmp_path / "here/mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from recipes import Component, Kind\n"
        "@dataclass(frozen=True)\n"
        f"class {class_name}(Component):\n"
        f"    key, kind = 'mine', Kind.{kind}\n"
        f"    def edits(self, recipe):\n        return {{'{leaf}': {value}}}\n"
    )
    # A process of its own: a module of this name is imported once per process.
    said = ablate("--base", "tiny", "--add", f"{first},{second}", folder=tmp_path / "here")
    assert said.code == 2
    assert leaf in said.err
    assert second in said.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("- a list", "does not hold a mapping"),
        ("base: [tiny", "not well-formed YAML in line"),
        ("base: tiny\nad: ls\n", "unknown key 'ad'; did you mean 'add'(.|\n)*add is missing"),
        ("base: tiny\nadd: 3\nseeds: x\n", "add = 3 is not str(.|\n)*seeds = 'x' is not int"),
        ("base: tiny\nadd: lz\n", "no component 'lz'"),
    ],
)
def test_a_bad_study_file_is_told(text: str, told: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(text)
    said = call("run", tmp_path / "study.yaml")
    assert (said.code, said.out) == (2, "")
    assert re.search(told, said.err)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text.replace("lr: 0.4", "lr: fast"), "optim.lr"),
        (lambda text: text.replace("  lr: 0.4\n", ""), "optim.lr is missing"),
        (lambda text: text.replace("lr: 0.4", "lr: 0.4\n  lrr: 1"), "optim.lrr.*did you mean"),
        (lambda text: text.replace("model:", "modle:"), "no section 'modle'.*'model'"),
        (lambda text: text.replace("lr: 0.4", "lr: ${oc.env:HOME}"), "optim.lr"),
        (lambda text: text + "]", "not well-formed YAML in line"),
    ],
)
def test_a_bad_recipe_file_is_told(
    change: Callable[[str], str], told: str, call: Call, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(change(dumps(load("tiny"))))
    said = call("--base", path, "--add", "ls")
    assert (said.code, said.out) == (2, "")
    assert "mine.yaml" in said.err
    assert re.search(told, said.err)
    assert str(Path.home()) not in said.err.replace(str(tmp_path), "")


def test_bad_folders_of_images_are_told(call: Call, tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "images")

    def told() -> str:
        said = call("--base", "tiny", "--add", "ls", "--data", f"imagefolder:{folder}")
        assert (said.code, said.out) == (2, "")
        return said.err

    (folder / "train/empty").mkdir()
    assert "class folders without images: empty" in told()
    (folder / "train/empty").rmdir()
    for part in ("train", "val"):
        (folder / part / "light").rename(tmp_path / f"{part}-light")
    assert "has one class folder (dark)" in told()
    for image in [*folder.glob("*/dark/*")]:
        image.unlink()
    assert "has no images" in told()
    (folder / "val/dark").rmdir()
    (folder / "val").rmdir()
    assert "needs train/<class>/ and one of val/" in told()


@pytest.mark.parametrize("below", ["file", "file/home"])
def test_a_home_that_cannot_be_written_is_told(below: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    said = call("--base", "tiny", "--add", "ls", "--home", tmp_path / below)
    assert said.code == 2
    assert "cannot be written" in said.err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write and read everything")
def test_a_home_of_somebody_else_is_read_only(finished: Finished, home: Path, call: Call) -> None:
    for path in (home, *home.iterdir()):
        path.chmod(0o555)
    said = call("report", finished.study, "--format", "json", "--home", home)
    assert (said.code, said.out) == (0, finished.said.out)
    for words in (REQUEST, ("plan", *REQUEST), ("extend", finished.study, "--seeds", "3")):
        said = call(*words, "--home", home)
        assert (said.code, said.out) == (2, "")
        assert "cannot be written: Permission denied" in said.err
    (home / "runs").chmod(0o000)
    said = call("report", finished.study, "--home", home)
    assert said.code == 2
    assert said.err.startswith("ablate: Permission denied: ")
    for path in (home, *home.iterdir()):
        path.chmod(0o755)


def test_what_only_reads_needs_no_home(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home = ("--home", tmp_path / "file")
    for words in (("status",), ("list", "studies"), ("show", "resnet18"), ("diff", "tiny", "tiny")):
        assert call(*words, *home).code == 0


def test_a_damaged_study_is_told_and_the_others_stand(
    finished: Finished, home: Path, call: Call
) -> None:
    (home / "studies" / finished.study / "plan.yaml").write_text("broken")
    for command in ("report", "status"):
        said = call(command, finished.study, "--home", home)
        assert (said.code, said.out) == (2, "")
        assert "plan.yaml" in said.err


@pytest.mark.parametrize("name", ["status.json", "result.json"])
def test_a_run_of_another_version_is_told(
    name: str, finished: Finished, home: Path, call: Call
) -> None:
    path = home / "runs" / finished.said.json["runs"][0]["id"] / name
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 7}))
    for words in (("report", finished.study), REQUEST):
        said = call(*words, "--home", home)
        assert (said.code, said.out) == (2, "")
        assert f"{path} is of schema version 7, this program reads 1" in said.err


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
    ],
)
def test_a_list_names_everything(what: str, held: list[str], call: Call) -> None:
    said = call("list", what)
    assert (said.code, said.err) == (0, "")
    assert all(re.search(rf"^\s*{re.escape(name)}\b", said.out, re.MULTILINE) for name in held)
    if what == "components":
        assert call("list").out == said.out


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
        ("track: mlflow", "track = 'mlflow' is not wandb or none"),
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
