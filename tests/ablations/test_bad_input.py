"""What a user may get wrong: one message, exit code 2, nothing trained, nothing lost."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from recipes import dumps, load
from tests.ablations.conftest import (
    REQUEST,
    Finished,
    Said,
    ablate,
    write_folders,
)

Call = Callable[..., Said]


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
    ("--base tiny --add paper --design factorial", "1024 arms; at most 64"),
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
    (f"{TINY} --devices 0", "--devices 0: give 1 or more"),
    (f"{TINY} --device cpu --devices 999", "--devices 999: on a CPU each is a process with a core"),
    (
        f"{TINY} --device cpu --devices 2 --set data.batch_size=33",
        "data.batch_size = 33 cannot be divided evenly over 2 devices: use 32 or 34",
    ),
    (f"{TINY} --slots 0", "--slots 0: give 1 or more"),
    (f"{TINY} --device gpu", "--device 'gpu': choose auto, cpu, cuda"),
    (f"{TINY} --device cpu:1", "--device 'cpu:1': choose auto, cpu, cuda"),
    (f"{TINY} --device cuda:", "--device 'cuda:'"),
    (f"{TINY} --home ''", "--home '': give a folder"),
    (f"{TINY} --set model.layers=1,1", "layers = .1, 1. needs 4 numbers, one per stage"),
    (
        "--base test_convnext --add ls --set model.se_ratio=0.25",
        "model.se_ratio = 0.25: test_convnext cannot take it: timm's ConvNeXt takes no squeeze",
    ),
    (f"{TINY} --set optim.epochs=99999999999", "must be at least 1 and at most 100000"),
    ("show tiny --format json", "'--format' is not known here; see"),
    (f"{TINY} --set data.batch_size=5000", "do not fill one batch of 5000"),
    (f"{TINY} --set data.train_fraction=0.0001", "no image of 10 of 10 classes"),
    (
        f"{TINY} --set data.crop=shift --set data.crop_padding=16",
        "crop_padding = 16 must be below data.resolution = 16",
    ),
    (f"{TINY} --keep best", "--keep: invalid choice: 'best'"),
    (f"{TINY} --track mlflow", "--track 'mlflow': choose from wandb, tensorboard, csv, none"),
    (f"{TINY} --track wandb,none", "--track 'wandb,none': choose from wandb"),
    (f"{TINY} --track wandb,csb", "--track 'wandb,csb': choose.*did you mean 'csv'"),
    ("dashboard", "the following arguments are required: STUDY"),
    ("dashboard sync mine", "there is no study 'mine'"),
    ("dashboard sink mine", "'sink mine': give `dashboard STUDY` or `dashboard sync STUDY`"),
    ("dashboard sync ../mine", "'../mine': use letters, digits"),
    (f"{TINY} --rope -1", "--rope -1: give accuracy points above 0"),
    (f"{TINY} --rope nan", "--rope nan: give accuracy points above 0"),
    (f"{TINY} --study ../mine", "'../mine': use letters, digits"),
    (f"{TINY} --study ''", "'': use letters, digits"),
    (f"{TINY} --home ~nobody-of-this-name/home", "--home '~nobody.*no such user"),
    (f"{TINY} --question allone", "--question 'allone': choose from.*did you mean 'alone'"),
    (f"{TINY} --question alone --design ladder", "ladder asks in_order; designs that answer it a"),
    (f"{TINY},se --budget 2", "average_over_others of these components takes at least 3 runs"),
    (f"{TINY},se --budget 5 --design ladder", "ladder takes 4 arms x 3 seeds = 12 runs"),
    (f"{TINY},se --design blocks --interaction ls:se", "blocks asks about the two sides"),
    (f"{TINY} --design blocks", "all that applies here is training"),
    (f"{TINY},se --interaction ls:sd", "'sd' not among the components of the request, ls, se"),
    ("--base tiny --add 'ra(magnitude=5||5|x),lz'", "level empty.*\n.*twice.*\n.*number.*\n.*'lz'"),
    ("show tiny --add 'ra(magnitude=5|9)'", "has levels, and a recipe holds one: choose one"),
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
    ("list publishd", "list 'publishd': choose from.*did you mean 'published'"),
    ("replay resnet-sr", "published under 'resnet-sr'; did you mean 'resnet-rs'.*torchvision"),
    ("replay ''", "nothing is published under ''; there are resnet-rs,"),
    ("replay resnet-rs --format jsn", "--format 'jsn': choose from.*did you mean 'json'"),
    ("replay --format json", "--format 'json': .* name one, as in ablate replay resnet-rs"),
    ("replay resnet-rs --home x", "'--home' is not known here"),
    ("replay resnet-rs -o .", ". cannot be written: Is a directory"),
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
        ("", "is empty; it should hold base, add and"),
        ("- a list", "does not hold a mapping; it should hold base, add and"),
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
