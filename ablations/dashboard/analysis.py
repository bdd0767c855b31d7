"""The analysis run: what was worked out of a study's runs, as one more run in W&B."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.dashboard.server import in_words, recall_boards
from ablations.ledger import Ledger
from ablations.publishing.shown import group_of
from ablations.version import own_version
from recipes.identity import digest

if TYPE_CHECKING:
    from ablations.dashboard.boards import Place
    from ablations.dashboard.shown import Shown
    from ablations.report.story import Story
    from lightning_modules.tracking import WandbPlace

ANALYSIS = "analysis"  # job type and name of the run
FIGURES = "figures/"  # before the names of its images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Analysed:
    """The analysis run of a study, as the server has it."""

    place: Place
    project: str  # the address of its project
    address: str
    content: str  # digest of what it holds


def log_analysis(
    shown: Shown, story: Story, ledger: Ledger, where: WandbPlace, aside: Path
) -> Analysed:
    """Bring what was worked out to the study's analysis run, where it does not have it already.

    The client writes what it sends into the folder `aside` too; of use to nobody once it is sent.

    Raises:
        ServerError: the server does not answer, or refuses.
    """
    from ablations.dashboard.boards import Place
    from lightning_modules.tracking import Patience, TrackedRun, open_analysis

    tables = {"effects": shown.effects, "arms": shown.arms, "recipes": shown.recipes}
    run = TrackedRun(
        identity=digest([shown.study, ANALYSIS]),
        study=group_of(shown.study),
        arm=ANALYSIS,
        name=ANALYSIS,
        tags=(ANALYSIS,),
    )
    aside.mkdir(parents=True, exist_ok=True)
    images = _drawn(story, aside)
    content = _content(shown, images)
    with in_words("W&B's server does not take the analysis run"):
        logged = open_analysis(run, aside, where, Patience())
        project = logged.address.rpartition("/runs/")[0]
        known = recall_boards(ledger.study_folder(shown.study), project).content
        if logged.sent == 0 or known != content:
            logged.show(
                _about(story.document, shown),
                {name: (table.columns, table.rows) for name, table in tables.items()},
                images,
                {**shown.numbers, "headline": " ".join(shown.headline)},
            )
        logged.close()
    place = Place(
        entity=logged.entity,
        project=logged.project,
        analysis=run.identity,
        figures=tuple(images),
        tables=tuple(tables),
    )
    return Analysed(place=place, project=project, address=logged.address, content=content)


def _drawn(story: Story, folder: Path) -> dict[str, Path]:
    """Write a study's figures as PNG files; return them by what they are called on the server."""
    from ablations.report.figures import draw
    from ablations.report.figures.style import as_bytes

    found = {}
    for name, figure in draw(story).items():
        path = folder / f"{name}.png"
        path.write_bytes(as_bytes(figure, "png"))
        found[f"{FIGURES}{name}"] = path
    return found


def _content(shown: Shown, images: Mapping[str, Path]) -> str:
    pictures = {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in images.items()
    }
    return digest([dataclasses.asdict(shown), pictures])


def _about(document: Mapping[str, Any], shown: Shown) -> dict[str, Any]:
    """Return the configuration of the run: what was analysed, by which version."""
    names = ("study", "design", "metric", "protocol", "data", "seeds")
    return {name: document[name] for name in names} | {
        "base": document["base"]["recipe"],
        "components": list(shown.components),
        "version": own_version(),
    }
