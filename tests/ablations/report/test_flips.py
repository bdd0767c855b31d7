"""Laws of the flipped images, on runs that nobody trained, of images that are really there."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ablations import plan as plan_of
from ablations.frozen import thaw
from ablations.ledger import Ledger
from ablations.plans import Plan, Published, Run
from ablations.report.flips import Flips, flips_of
from ablations.revisions import open_or_freeze
from lightning_modules.data import open_source, parse_data, training_parts
from lightning_modules.data.items import Items
from tests.ablations.conftest import write_folders

Said = tuple[NDArray[np.int32], NDArray[np.float32]]


def frozen(home: Path, add: str = "ls,se", **more: Any) -> tuple[Plan, Ledger]:
    """A plan of tiny, and its ledger without runs."""
    given = {"design": "one-at-a-time", "seeds": 3, "home": home, "study": "mine"} | more
    made, ledger = plan_of("tiny", add, **given), Ledger(home)
    open_or_freeze(made, ledger)
    return made.plan, ledger


def images(data: str = "digits") -> Items:
    return open_source(parse_data(data)).validation


def all_right(items: Items) -> Said:
    return items.labels.astype(np.int32), np.full(len(items), 0.1, np.float32)


def wrong_on(items: Items, where: Mapping[int, int], loss: float = 2.0) -> Said:
    """Right on all images but those in `where`, which gives the wrong answers."""
    predicted, losses = all_right(items)
    for index, answer in where.items():
        predicted[index], losses[index] = answer, loss
    return predicted, losses


def record(ledger: Ledger, plan: Plan, run: Run, items: Items, said: Said) -> Path:
    predicted, loss = said
    folder = ledger.begin(run.id, plan.layout.arm(run.arm).recipe, run.seed, plan.data)
    right = predicted == items.labels
    np.savez_compressed(folder / "predictions.npz", predicted=predicted, loss=loss)
    np.save(folder / "correct.npy", np.packbits(right))
    result = {"top1": 100 * float(right.mean()), "evaluated_images": len(items)}
    ledger.finish(run.id, "finished", result | {"data_fingerprint": plan.data_fingerprint}, "")
    return folder


def finish(
    ledger: Ledger, plan: Plan, items: Items, said: Mapping[str, Sequence[Said]]
) -> dict[str, list[Path]]:
    """Record every run; an arm that is not named is right everywhere."""
    folders: dict[str, list[Path]] = {}
    for run in plan.runs:
        answers = said.get(run.arm)
        own = all_right(items) if answers is None else answers[run.seed % len(answers)]
        folders.setdefault(run.arm, []).append(record(ledger, plan, run, items, own))
    return folders


def wrong(label: int, by: int = 1) -> int:
    return (label + by) % 10


def group(found: Flips, label: str) -> Any:
    return next(one for one in found.groups if one.label == label)


def test_images_that_a_change_mends_and_breaks_are_shown_with_both_answers(tmp_path: Path) -> None:
    plan, ledger = frozen(tmp_path)
    items = images()
    label = items.labels
    base = [
        wrong_on(items, {7: wrong(label[7]), 20: wrong(label[20])}),
        wrong_on(items, {7: wrong(label[7], 2)}),
        wrong_on(items, {7: wrong(label[7], 2)}),
    ]
    finish(ledger, plan, items, {"base": base, "ls": [wrong_on(items, {30: wrong(label[30])})]})
    found = flips_of(plan, ledger)
    assert found.note == ""
    assert [one.label for one in found.groups] == ["+ls", "+se"]
    one = group(found, "+ls")
    assert (one.control, one.treatment, one.seeds) == ("base", "ls", 3)
    assert (one.gained, one.lost) == (1, 1)  # 4 of 3 seeds, 3 of 3
    assert [(image.index, image.seeds) for image in one.right] == [(7, 3), (20, 1)]
    first = one.right[0]
    assert first.label == first.after == str(label[7])
    assert first.before == str(wrong(label[7], 2))  # two of three seeds say so
    assert [(image.index, image.seeds) for image in one.wrong] == [(30, 3)]
    assert (one.wrong[0].before, one.wrong[0].after) == (str(label[30]), str(wrong(label[30])))
    assert [image.index for image in group(found, "+se").right] == [7, 20]
    assert group(found, "+se").wrong == ()


def test_a_picture_is_the_very_image(tmp_path: Path) -> None:
    plan, ledger = frozen(tmp_path, "ls")
    items = images()
    finish(ledger, plan, items, {"base": [wrong_on(items, {7: wrong(items.labels[7])})]})
    shown = group(flips_of(plan, ledger), "+ls").right[0]
    with Image.open(io.BytesIO(shown.png)) as picture:
        assert picture.format == "PNG" and picture.size == (shown.width, shown.height) == (8, 8)
        assert np.array_equal(np.asarray(picture.convert("RGB")), items.read(7))


def test_images_rank_by_seeds_and_then_by_the_change_of_their_loss(tmp_path: Path) -> None:
    plan, ledger = frozen(tmp_path, "ls")
    items = images()
    answers = {index: wrong(items.labels[index]) for index in (3, 5, 9, 11)}
    both, once = wrong_on(items, answers), wrong_on(items, {11: answers[11]}, loss=9.0)
    for index, loss in ((3, 1.0), (5, 3.0), (9, 2.0)):
        both[1][index] = loss
    finish(ledger, plan, items, {"base": [both, both, once]})
    found = flips_of(plan, ledger, each=3)
    assert [image.index for image in group(found, "+ls").right] == [11, 5, 9]


def test_losses_that_are_no_numbers_break_nothing(tmp_path: Path) -> None:
    plan, ledger = frozen(tmp_path, "ls")
    items = images()
    broken = wrong_on(items, {index: wrong(items.labels[index]) for index in (3, 5)}, loss=np.inf)
    broken[1][5] = np.nan
    finish(ledger, plan, items, {"base": [broken]})
    assert {image.index for image in group(flips_of(plan, ledger), "+ls").right} == {3, 5}


def test_only_common_finished_seeds_are_compared(tmp_path: Path) -> None:
    plan, ledger = frozen(tmp_path, "ls")
    items = images()
    finish(ledger, plan, items, {"base": [wrong_on(items, {7: wrong(items.labels[7])})]})
    failed = next(run for run in plan.runs if run.arm == "ls" and run.seed == 1)
    ledger.finish(failed.id, "failed", None, "a reason")
    assert group(flips_of(plan, ledger), "+ls").seeds == 2
    for run in plan.runs:
        if run.arm == "ls":
            ledger.finish(run.id, "failed", None, "a reason")
    assert flips_of(plan, ledger) == Flips(groups=(), note="")


def test_the_largest_effects_are_shown_in_the_order_of_the_plan(tmp_path: Path) -> None:
    plan, ledger = frozen(tmp_path, "ls,se,do,ra", seeds=2)
    items = images()

    def worse(count: int) -> list[Said]:
        return [wrong_on(items, {k: wrong(items.labels[k]) for k in range(count)})]

    finish(ledger, plan, items, {"ls": worse(1), "se": worse(4), "do": worse(2), "ra": worse(9)})
    found = flips_of(plan, ledger, contrasts=2)
    assert [one.label for one in found.groups] == ["+se", "+ra"]
    assert found.note == "shown are the 2 largest effects of 4"
    assert [len(one.wrong) for one in found.groups] == [4, 6]


def test_only_the_runs_that_are_shown_are_read(tmp_path: Path) -> None:
    plan, ledger = frozen(tmp_path, "ls,se")
    items = images()
    folders = finish(ledger, plan, items, {"ls": [wrong_on(items, {7: wrong(items.labels[7])})]})
    for folder in folders["se"]:
        (folder / "predictions.npz").write_bytes(b"PK\x03\x04 damaged")
    found = flips_of(plan, ledger, contrasts=1)
    assert found.note == "shown is the largest effect of 2"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "1 run is left out: its predictions are not there any more"),
        (b"PK\x03\x04 damaged", "predictions.npz is damaged"),
        (b"", "predictions.npz is damaged"),
        ("objects", "predictions.npz is damaged"),
        ("shorter", "predictions.npz does not hold a label and a loss of every image"),
        ("texts", "predictions.npz does not hold a label and a loss of every image"),
    ],
)
def test_a_damaged_run_is_left_out_with_its_reason(
    tmp_path: Path, content: bytes | str | None, reason: str
) -> None:
    plan, ledger = frozen(tmp_path, "ls")
    items = images()
    folders = finish(ledger, plan, items, {"base": [wrong_on(items, {7: wrong(items.labels[7])})]})
    path = folders["ls"][0] / "predictions.npz"
    predicted, loss = all_right(items)
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "objects":
        np.savez(path, predicted=np.array([{}] * len(items), dtype=object), loss=loss)
    elif content == "shorter":
        np.savez(path, predicted=predicted[:-1], loss=loss[:-1])
    else:
        np.savez(path, predicted=predicted.astype(str), loss=loss)
    found = flips_of(plan, ledger)
    assert reason in found.note
    assert group(found, "+ls").seeds == 2 and len(group(found, "+ls").right) == 1


def test_other_labels_than_the_runs_had_show_no_image_and_keep_the_counts(tmp_path: Path) -> None:
    plan, ledger = frozen(tmp_path, "ls")
    items = images()
    moved = replace(items, labels=np.roll(items.labels, 1))  # as if files had changed since
    finish(ledger, plan, moved, {"base": [wrong_on(moved, {7: wrong(moved.labels[7])})]})
    found = flips_of(plan, ledger)
    assert found.note == (
        "no images are shown: those of digits are not the ones that runs were evaluated on"
    )
    one = group(found, "+ls")
    assert (one.gained, one.lost, one.right, one.wrong) == (1, 0, (), ())


def test_another_number_of_images_shows_none(tmp_path: Path) -> None:
    plan, ledger = frozen(tmp_path, "ls")
    items = images()
    fewer = items.take(np.arange(len(items) - 3))
    finish(ledger, plan, fewer, {"base": [wrong_on(fewer, {7: wrong(fewer.labels[7])})]})
    assert "digits has 599 of them now, and runs were evaluated on 596" in (
        flips_of(plan, ledger).note
    )


def test_minival_is_shown_where_it_was_evaluated(tmp_path: Path) -> None:
    settings = ("evaluate.split=minival", "data.minival_fraction=0.2")
    plan, ledger = frozen(tmp_path, "ls", settings=settings)
    train = open_source(parse_data("digits")).train
    _, held_out = training_parts(train, plan.layout.arms[0].recipe.data, 0)
    items = train.take(held_out)
    finish(ledger, plan, items, {"base": [wrong_on(items, {7: wrong(items.labels[7])})]})
    found = flips_of(plan, ledger)
    shown = group(found, "+ls").right[0]
    with Image.open(io.BytesIO(shown.png)) as picture:
        assert np.array_equal(np.asarray(picture.convert("RGB")), items.read(7))


def test_class_folders_are_shown_with_their_names_and_made_small(tmp_path: Path) -> None:
    data = write_folders(tmp_path / "data", train=16, validation=6)
    hostile = "<img src=x onerror=alert(1)>"
    for part in ("train", "val"):
        (data / part / "light").rename(data / part / hostile)
    Image.fromarray(np.zeros((300, 900, 3), np.uint8)).save(data / "val" / "dark" / "0.jpg")
    word = f"imagefolder:{data}"
    plan, ledger = frozen(tmp_path / "home", "ls", data=word, settings=("data.batch_size=8",))
    items = images(word)
    wide = items.names.index("val/dark/0.jpg")
    finish(ledger, plan, items, {"base": [wrong_on(items, {wide: 1 - int(items.labels[wide])})]})
    found = flips_of(plan, ledger, data=word)
    assert found.note == ""
    shown = group(found, "+ls").right[0]
    assert {shown.label, shown.before} == {"dark", hostile}  # plain text: pages escape it
    assert (shown.width, shown.height) == (96, 32)
    (data / "val" / "dark" / "0.jpg").write_bytes(b"no image")
    assert group(flips_of(plan, ledger, data=word), "+ls").right == ()
    shutil.rmtree(data)
    found = flips_of(plan, ledger, data=word)
    assert "no images are shown: the folder" in found.note and "does not exist" in found.note
    assert group(found, "+ls").gained == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("wds:https://example.invalid/train-{0..3}.tar,https://example.invalid/val.tar", "web"),
        ("hf:somebody/something", "network"),
    ],
)
def test_nothing_is_fetched(tmp_path: Path, data: str, reason: str) -> None:
    plan, ledger = frozen(tmp_path, "ls")
    items = images()
    finish(ledger, plan, items, {"base": [wrong_on(items, {7: wrong(items.labels[7])})]})
    found = flips_of(replace(plan, data=data.partition(":")[0]), ledger, data=data)
    assert found.note.startswith("no images are shown: ") and reason in found.note


def test_data_of_another_kind_than_the_plans_are_not_looked_at(tmp_path: Path) -> None:
    plan, ledger = frozen(tmp_path, "ls")
    items = images()
    finish(ledger, plan, items, {"base": [wrong_on(items, {7: wrong(items.labels[7])})]})
    found = flips_of(replace(plan, data="cifar10"), ledger)
    assert "the study is of cifar10, whose folder is not known" in found.note


def test_published_numbers_flip_nothing(tmp_path: Path) -> None:
    plan, ledger = frozen(tmp_path, "ls")
    published = replace(plan, published=Published(source="a table", protocol={}))
    assert flips_of(published, ledger) == Flips(groups=(), note="")


def test_of_many_seeds_the_first_ten_are_read_and_no_torch_is_loaded(tmp_path: Path) -> None:
    plan, ledger = frozen(tmp_path, "ls,sd,se,do,ra,ema,wd,resnetd,epochs", seeds=12)
    items = images()
    random = np.random.default_rng(0)
    for run in plan.runs:
        chosen = random.choice(len(items), 60, replace=False)
        said = wrong_on(items, {int(k): wrong(items.labels[k]) for k in chosen})
        folder = ledger.run_folder(run.id)
        folder.mkdir(parents=True)
        np.savez_compressed(folder / "predictions.npz", predicted=said[0], loss=said[1])
        np.save(folder / "correct.npy", np.packbits(said[0] == items.labels))
        result = {"top1": 100 * (1 - 60 / len(items)), "evaluated_images": len(items)}
        (folder / "result.json").write_text(json.dumps({"schema_version": 1} | result))
        (folder / "status.json").write_text(json.dumps({"schema_version": 1, "status": "finished"}))
    thawed, _, _ = thaw(ledger.study_folder("mine"))
    found = flips_of(thawed, ledger)
    assert len(found.groups) == 9 and all(len(one.right) == 6 for one in found.groups)
    assert "of each arm the first 10 seeds are read" in found.note
    code = (
        "import sys\nfrom pathlib import Path\nfrom ablations.frozen import thaw\n"
        "from ablations.ledger import Ledger\nfrom ablations.report.flips import flips_of\n"
        f"ledger = Ledger(Path({str(tmp_path)!r}))\n"
        "plan = thaw(ledger.study_folder('mine'))[0]\n"
        "print(len(flips_of(plan, ledger).groups), 'torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["9", "False"]
