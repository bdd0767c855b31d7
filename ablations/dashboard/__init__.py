"""`ablate dashboard STUDY`: what a study says, as a workspace and a Report of W&B.

From the ledger alone. The server computes no differences between runs and no intervals, so what was
worked out here goes there as one more run, the analysis run; the boards show it beside the study's
own runs. Made again, all three are the same ones as before.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.asked import check_rope, home_of
from ablations.dashboard.server import ServerError, in_words, keep_boards, recall_boards
from ablations.errors import RequestError
from ablations.ledger import Ledger
from ablations.output import as_json, say, show_result
from recipes.identity import digest

if TYPE_CHECKING:
    from ablations.dashboard.boards import Place
    from ablations.dashboard.shown import Shown
    from ablations.plans import Plan
    from ablations.report.story import Story
    from lightning_modules.tracking import WandbPlace

_WITHOUT = "a page that needs no account: `ablate report STUDY --format html`"


def dashboard(arguments: argparse.Namespace) -> int:
    """Make or update the analysis run, the workspace and the Report of a study; print where.

    Returns:
        0, or 1 where the server does not answer or refuses: nothing of the study is lost by that.

    Raises:
        RequestError: there is no such study, or nobody is logged in.
    """
    from ablations.frozen import thaw
    from ablations.publishing import place_of, publish_now

    if arguments.format not in ("table", "json"):
        raise RequestError(f"--format {arguments.format!r}: choose table or json")
    check_rope(arguments.rope)
    ledger = Ledger(home_of(arguments))
    plan, _, _ = thaw(ledger.study_folder(arguments.study))
    _check_online()
    place = place_of(arguments)
    try:
        made = make(plan, ledger, place, rope=arguments.rope)
    except ServerError as error:
        say(f"ablate: {error}; nothing is lost, and the same command tries again")
        return 1
    show_result(as_json(made) if arguments.format == "json" else _table(made))
    return 0


def make(
    plan: Plan, ledger: Ledger, where: WandbPlace, *, rope: float | None = None
) -> dict[str, Any]:
    """Make or update a study's boards; return where they are, as plain values.

    Raises:
        ServerError: the server does not answer, or refuses. What it took until then is kept, and
            is gone on with the next time.
        RequestError: as `ablations.answers.look`.
    """
    from ablations.answers import look, story_from
    from ablations.dashboard.boards import save_report, save_workspace
    from ablations.dashboard.shown import shown_of
    from ablations.publishing.shown import keys_of

    looked = look(plan, ledger, rope=rope)
    story = story_from(looked, ledger)
    shown = shown_of(story, keys_of(looked.plan))
    folder = ledger.study_folder(plan.study)
    place, project, content = _analysed(shown, story, ledger, folder, where)
    boards = dataclasses.replace(recall_boards(folder, project), content=content)
    keep_boards(folder, project, boards)
    url, new = save_workspace(shown, place, boards.workspace)
    _tell_new("workspace", boards.workspace, new)
    boards = dataclasses.replace(boards, workspace=url)
    keep_boards(folder, project, boards)  # at once: a report that fails must not lose it
    url, new = save_report(shown, place, boards.report, _how(plan.study, rope))
    _tell_new("report", boards.report, new)
    boards = dataclasses.replace(boards, report=url)
    keep_boards(folder, project, boards)
    return {
        "schema_version": 1,
        "study": plan.study,
        "entity": place.entity,
        "project": place.project,
        "workspace": boards.workspace,
        "report": boards.report,
        "analysis": f"{project}/runs/{place.analysis}",
    }


def _check_online() -> None:
    from lightning_modules.tracking import is_logged_in, wandb_state

    state, why = wandb_state()
    if state != "online":
        remedy = "unset it" if is_logged_in() else "`wandb login`, or set WANDB_API_KEY"
        raise RequestError(f"a dashboard needs W&B's server, and {why}: {remedy}; {_WITHOUT}")


def _analysed(
    shown: Shown, story: Story, ledger: Ledger, folder: Path, where: WandbPlace
) -> tuple[Place, str, str]:
    """Bring what was worked out to the analysis run.

    Returns:
        Where it is, the address of its project, and the digest of what it now holds.
    """
    from ablations.dashboard.boards import ANALYSIS, FIGURES, Place
    from lightning_modules.tracking import Patience, TrackedRun, open_wandb

    tables = {"effects": shown.effects, "arms": shown.arms, "recipes": shown.recipes}
    run = TrackedRun(
        identity=digest([shown.study, ANALYSIS]),
        study=shown.study,
        arm=ANALYSIS,
        name=ANALYSIS,
        tags=(ANALYSIS,),
    )
    (ledger.home / "tracking").mkdir(parents=True, exist_ok=True)
    # The client writes what it sends to a folder too: of use to nobody once it is sent.
    with tempfile.TemporaryDirectory(dir=ledger.home / "tracking", prefix=".analysis-") as aside:
        drawn = _drawn(story, Path(aside))
        images = {f"{FIGURES}{name}": path for name, path in drawn.items()}
        content = _content(shown, images)
        with in_words("the analysis run"):
            tracker = open_wandb(run, Path(aside), where, online=True, patience=Patience())
        with in_words("the analysis run"):
            project = tracker.address.rpartition("/runs/")[0]
            known = recall_boards(folder, project).content
            if tracker.sent == 0 or known != content:  # else it has all of this already
                tracker.log_hyperparams(_about(story.document, shown))
                tracker.show(
                    {name: (table.columns, table.rows) for name, table in tables.items()}, images
                )
                tracker.summarize({**shown.numbers, "headline": " ".join(shown.headline)})
            tracker.finalize(True)
    place = Place(
        entity=tracker.entity,
        project=tracker.project,
        analysis=run.identity,
        figures=tuple(images),
        tables=tuple(tables),
    )
    return place, project, content


def _drawn(story: Story, folder: Path) -> dict[str, Path]:
    """Write a study's figures as PNG files; return them by their names."""
    from ablations.report.figures import draw
    from ablations.report.figures.style import as_bytes

    found = {}
    for name, figure in draw(story).items():
        path = folder / f"{name}.png"
        path.write_bytes(as_bytes(figure, "png"))
        found[name] = path
    return found


def _content(shown: Shown, images: Mapping[str, Path]) -> str:
    pictures = {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in images.items()
    }
    return digest([dataclasses.asdict(shown), pictures])


def _about(document: Mapping[str, Any], shown: Shown) -> dict[str, Any]:
    from ablations.commands import own_version

    names = ("study", "design", "metric", "protocol", "data", "seeds")
    return {name: document[name] for name in names} | {
        "base": document["base"]["recipe"],
        "components": list(shown.components),
        "version": own_version(),
    }


def _how(study: str, rope: float | None) -> list[str]:
    from ablations.commands import own_version

    words = ["ablate", "dashboard", study, *([] if rope is None else ["--rope", f"{rope:g}"])]
    return [f"# ablate {own_version()}, from its ledger", shlex.join(words)]


def _tell_new(what: str, before: str | None, new: bool) -> None:
    if before is not None and new:
        say(f"the {what} {before} is gone on the server: a new one is made")


def _table(made: Mapping[str, Any]) -> str:
    return "\n".join(f"{name:<10} {made[name]}" for name in ("workspace", "report", "analysis"))
