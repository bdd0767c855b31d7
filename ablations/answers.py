"""What a home knows of a study: outcomes, certificates, and the answer for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.confirmation import Confirmation, confirmation_of
from ablations.correctness import KeptImages
from ablations.frozen import thaw
from ablations.ledger import Ledger, recall
from ablations.plans import Outcome, Plan, values_by_arm
from ablations.report import document
from ablations.report.analysis import Answer, analysis_of
from ablations.report.effects import EFFECTS, effects
from ablations.report.staged import told
from ablations.report.story import Story, gather
from ablations.sequential import first_error, spent
from ablations.stages import Stages, stages_of, with_stages

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


def outcomes_of(plan: Plan, ledger: Ledger) -> list[Outcome]:
    """Return what the ledger holds of every run of a plan."""
    return [ledger.outcome(run) for run in plan.runs]


def certificates_of(plan: Plan, ledger: Ledger) -> list[dict[str, Any]]:
    """Return the certificates of a study, or, where it trained nothing itself, of its runs."""
    first = [run for run in plan.runs if run.seed == plan.seeds[0]]
    paths = [ledger.run_folder(run.id) / "certificate.json" for run in first]
    own = ledger.certificates(ledger.study_folder(plan.study) / "certificates.json")
    return own or [one for path in paths for one in ledger.certificates(path)]


def images_of(plan: Plan, ledger: Ledger, outcomes: Sequence[Outcome] | None = None) -> KeptImages:
    """Return which images each finished run of a plan got right, read as they are asked for.

    `outcomes` are those of the plan, where they are at hand; None: read from the ledger.
    """
    return KeptImages(ledger, outcomes_of(plan, ledger) if outcomes is None else outcomes)


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What a look at the ledger makes of a frozen plan."""

    plan: Plan  # with the runs that its stages added
    outcomes: Sequence[Outcome]
    answer: Answer
    document: dict[str, Any]


def look(plan: Plan, ledger: Ledger, *, rope: float | None = None) -> Looked:
    """Return the answer of a frozen plan, with the runs that its stages added.

    `rope` stands in place of the plan's own where it is given.
    """
    now, stages = with_stages(plan, ledger), stages_of(plan, ledger)
    outcomes = outcomes_of(now, ledger)
    how: dict[str, Any] = {
        "rope": plan.rope if rope is None else rope,
        "images": images_of(now, ledger, outcomes),
        "spent": _spent(plan, stages),
    }
    answer = analysis_of(
        now,
        outcomes,
        error=first_error(plan, plan.runs, values_by_arm(outcomes)),
        concluded=stages.ended(plan),
        **how,
    )
    found = document(
        now,
        outcomes,
        certificates_of(now, ledger),
        told=told(plan, stages, confirmation_in(plan, ledger), readers_of(plan, ledger)),
        answer=answer,
        **how,
    )
    return Looked(plan=now, outcomes=outcomes, answer=answer, document=found)


def document_of(plan: Plan, ledger: Ledger, *, rope: float | None = None) -> dict[str, Any]:
    """Return the document of a frozen plan: what `--format json` prints."""
    return look(plan, ledger, rope=rope).document


def story_of(plan: Plan, ledger: Ledger, *, rope: float | None = None) -> Story:
    """Return all that a page shows of a frozen plan."""
    return story_from(look(plan, ledger, rope=rope), ledger)


def story_from(looked: Looked, ledger: Ledger) -> Story:
    """Return all that a page shows of what was looked at."""
    plan, answer = looked.plan, looked.answer
    return gather(
        plan,
        looked.outcomes,
        looked.document,
        effects(plan.layout, answer),
        {arm: (mean.value, mean.interval) for arm, mean in answer.analysis.means.items()},
        ledger,
        certificates_of(plan, ledger),
    )


def confirmation_in(plan: Plan, ledger: Ledger) -> Confirmation | None:
    """Return what fresh seeds say of the arm that a study chose; None: it has chosen none yet."""
    choice = stages_of(plan, ledger).choice
    if choice is None:
        return None
    now = with_stages(plan, ledger)
    outcomes, fresh = outcomes_of(now, ledger), [ledger.outcome(run) for run in choice.runs]
    images = (images_of(now, ledger, outcomes), KeptImages(ledger, fresh))
    error = first_error(plan, plan.runs, values_by_arm(outcomes))
    return confirmation_of(now, choice, outcomes, fresh, *images, error)


def readers_of(plan: Plan, ledger: Ledger) -> list[str]:
    """Return the other studies with a report on the images that this plan is evaluated on."""
    line, split = f"data_fingerprint: {plan.data_fingerprint}\n", plan.protocol["split"]
    found = []
    for study in ledger.studies():
        folder = ledger.home / "studies" / study
        report = recall(folder / "report.json")
        same = report.get("protocol", {}).get("split") == split
        if same and study != plan.study and line in (folder / "plan.yaml").read_text("utf-8"):
            found.append(study)
    return sorted(found)


def _spent(plan: Plan, stages: Stages) -> float:
    if plan.stopping is None:
        return 1.0
    now = len(stages.looks) - stages.ended(plan)  # the stage it ended with, or the one it is in
    return spent(plan, min(now, len(plan.stopping.stages) - 1))


class Study:
    """A study's answer, for notebooks: the JSON document, and frames of runs and effects."""

    def __init__(self, plan: Plan, ledger: Ledger) -> None:
        self._frozen, self._ledger = plan, ledger

    @property
    def plan(self) -> Plan:
        """Return the plan, with the runs that its stages added."""
        return with_stages(self._frozen, self._ledger)

    @property
    def document(self) -> dict[str, Any]:
        """Return the object that `--format json` prints."""
        return document_of(self._frozen, self._ledger)

    @property
    def confirmation(self) -> Confirmation | None:
        """Return what fresh seeds say of the arm that was chosen on minival; None: no choice."""
        return confirmation_in(self._frozen, self._ledger)

    @property
    def runs(self) -> pandas.DataFrame:
        """Return one row per run: arm, seed, status, value (percent), seconds, costs."""
        import pandas

        rows = [
            {"id": o.run.id, "arm": o.run.arm, "seed": o.run.seed, "status": o.status}
            | {"value": o.value}
            | dict(o.cost)
            for o in outcomes_of(self.plan, self._ledger)
        ]
        return pandas.DataFrame(rows)

    @property
    def contrasts(self) -> pandas.DataFrame:
        """Return one row per contrast, the columns of the JSON document."""
        import pandas

        return pandas.DataFrame(self.document["contrasts"])

    @property
    def effects(self) -> pandas.DataFrame:
        """Return one row per contrast and side of the split, with all that is known of its error.

        The same numbers as in the document, with the parts of the error and the intervals that
        hold all at once beside them.
        """
        import pandas

        found = look(self._frozen, self._ledger)
        rows = effects(found.plan.layout, found.answer)
        return pandas.DataFrame(rows, columns=list(EFFECTS))

    @property
    def figures(self) -> dict[str, Figure]:
        """Return matplotlib's figures of the study by name, those that it has numbers for."""
        from ablations.report.figures import draw

        return draw(story_of(self._frozen, self._ledger))


def open_study(name: str, home: str | Path = "ablate-home") -> Study:
    """Open a study of a home.

    Raises:
        RequestError: there is none of that name.
    """
    ledger = Ledger(Path(home))
    return Study(thaw(ledger.study_folder(name))[0], ledger)
