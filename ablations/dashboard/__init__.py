"""`ablate dashboard STUDY`: what a study says, as a workspace and a Report of W&B.

From the ledger alone. The server computes no differences between runs and no intervals, so what was
worked out here goes there as one more run, the analysis run; the boards show it beside the study's
own runs. Made again, all three are the same ones as before.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.asked import check_rope, home_of, wandb_of
from ablations.dashboard.server import ServerError, keep_boards, recall_boards
from ablations.errors import RequestError
from ablations.ledger import Ledger
from ablations.output import as_json, say, show_result
from ablations.version import own_version

if TYPE_CHECKING:
    from ablations.plans import Plan
    from ablations.publishing.targets import Target
    from lightning_modules.tracking import WandbPlace


def dashboard(arguments: argparse.Namespace) -> int:
    """Make or update the analysis run, the workspace and the Report of a study; print where.

    Returns:
        0, or 1 where the server does not answer or refuses: nothing of the study is lost by that.

    Raises:
        RequestError: there is no such study, nobody is logged in, or W&B is switched off.
    """
    from ablations.frozen import thaw
    from ablations.publishing.targets import targets_of
    from lightning_modules.tracking import leave_wandb

    if arguments.format not in ("table", "json"):
        raise RequestError(f"--format {arguments.format!r}: choose table or json")
    check_rope(arguments.rope)
    ledger = Ledger(home_of(arguments))
    plan, _, _ = thaw(ledger.study_folder(arguments.study))
    _check_online(plan.study)
    [target] = targets_of("wandb", *wandb_of(arguments))
    assert target.place is not None
    try:
        made = make(
            plan,
            ledger,
            target.place,
            rope=arguments.rope,
            publish=lambda: publish_rest(plan.study, ledger, target),
        )
    except ServerError as error:
        say(f"ablate: {error}; nothing is lost, and the same command tries again")
        return 1
    finally:
        leave_wandb()
    show_result(as_json(made) if arguments.format == "json" else _table(made))
    return 0


def publish_rest(study: str, ledger: Ledger, target: Target) -> None:
    """Bring a study's ended runs to the server that it lacks, and say what is left of them."""
    from ablations.leases import hold_if_free
    from ablations.publishing.journal import ONLINE
    from ablations.publishing.publisher import Publisher
    from ablations.publishing.targets import folder_of

    with hold_if_free(folder_of(ledger, study)) as free:
        if not free:
            say(f"another command is publishing the runs of study {study} now")
            return
        publisher = Publisher(ledger, study, [target], online=True, uploads=True)
        try:
            if publisher.left():
                with contextlib.redirect_stdout(io.StringIO()):  # tracebacks, for a log
                    publisher.look()
        finally:
            publisher.close()
        if made := publisher.made["wandb", ONLINE]:
            say(f"published {made} runs that the server lacked")
        if left := publisher.left():
            why = publisher.trouble.get("wandb", "")
            say(f"{left} runs are left: {why}; `ablate dashboard sync {study}` uploads them")


def make(
    plan: Plan,
    ledger: Ledger,
    where: WandbPlace,
    *,
    rope: float | None = None,
    publish: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Make or update a study's analysis run and boards; return where they are, as plain values.

    `publish` is done once the server has answered, so that one that is dead is waited for once.

    Raises:
        ServerError: the server does not answer, or refuses. What it took until then is kept, and
            is gone on with the next time.
        RequestError: as `ablations.answers.look`.
    """
    from ablations.answers import look, story_from
    from ablations.dashboard.analysis import log_analysis
    from ablations.dashboard.boards import save_report, save_workspace
    from ablations.dashboard.shown import shown_of
    from ablations.publishing.shown import keys_of

    looked = look(plan, ledger, rope=rope)
    story = story_from(looked, ledger)
    shown = shown_of(story, keys_of(looked.plan))
    with _work_alone(plan.study, ledger) as aside:
        logged = log_analysis(shown, story, ledger, where, aside)
        folder, place = ledger.study_folder(plan.study), logged.place
        boards = recall_boards(folder, logged.project)
        boards = dataclasses.replace(boards, content=logged.content)
        keep_boards(folder, logged.project, boards)
        publish()
        url, new = save_workspace(shown, place, boards.workspace)
        _tell_new("workspace", boards.workspace, new)
        boards = dataclasses.replace(boards, workspace=url)
        keep_boards(folder, logged.project, boards)  # at once: a report that fails must not lose it
        url, new = save_report(shown, place, boards.report, _how(plan.study, rope))
        _tell_new("report", boards.report, new)
        keep_boards(folder, logged.project, dataclasses.replace(boards, report=url))
    return {
        "schema_version": 1,
        "study": plan.study,
        "entity": place.entity,
        "project": place.project,
        "workspace": boards.workspace,
        "report": url,
        "analysis": logged.address,
    }


@contextlib.contextmanager
def _work_alone(study: str, ledger: Ledger) -> Iterator[Path]:
    """Yield an empty folder, while no other command makes boards of the study: twice the same."""
    from ablations.leases import held
    from ablations.publishing.targets import folder_of

    folder = folder_of(ledger, study) / "dashboard"
    work = folder / "work"
    with held(folder, lambda: say(f"waiting for another dashboard of {study} ..."), every=5.0):
        shutil.rmtree(work, ignore_errors=True)  # of one that was killed
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _check_online(study: str) -> None:
    """Check that the server may be asked, and that there is a key for it; asks it nothing."""
    from lightning_modules.tracking import wandb_state

    state, why = wandb_state()
    if state != "online":
        remedy = ": unset it" if why.startswith("WANDB_") else ""
        raise RequestError(
            f"a dashboard is made on W&B's server, but {why}{remedy}; for a page that needs no"
            f" account: ablate report {study} --format html"
        )


def _how(study: str, rope: float | None) -> list[str]:
    words = ["ablate", "dashboard", study, *([] if rope is None else ["--rope", f"{rope:g}"])]
    return [f"# ablate {own_version()}, from the ledger", shlex.join(words)]


def _tell_new(what: str, before: str | None, new: bool) -> None:
    if before is not None and new:
        say(f"the {what} {before} is gone on the server: a new one is made")


def _table(made: Mapping[str, Any]) -> str:
    return "\n".join(f"{name:<9}  {made[name]}" for name in ("workspace", "report", "analysis"))
