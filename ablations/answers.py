"""What a home knows of a study: outcomes, certificates, and the answer for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.correctness import KeptImages
from ablations.frozen import thaw
from ablations.ledger import Ledger
from ablations.plans import Outcome, Plan
from ablations.report import document
from ablations.report.analysis import analysis_of
from ablations.report.effects import EFFECTS, effects

if TYPE_CHECKING:
    import pandas


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


class Study:
    """A study's answer, for notebooks: the JSON document, and frames of runs and effects."""

    def __init__(self, plan: Plan, ledger: Ledger) -> None:
        self.plan, self._ledger = plan, ledger

    @property
    def document(self) -> dict[str, Any]:
        """Return the object that `--format json` prints."""
        outcomes = outcomes_of(self.plan, self._ledger)
        return document(
            self.plan,
            outcomes,
            certificates_of(self.plan, self._ledger),
            rope=self.plan.rope,
            images=images_of(self.plan, self._ledger, outcomes),
        )

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

        outcomes = outcomes_of(self.plan, self._ledger)
        images = images_of(self.plan, self._ledger, outcomes)
        answer = analysis_of(self.plan, outcomes, rope=self.plan.rope, images=images)
        return pandas.DataFrame(effects(self.plan.layout, answer), columns=list(EFFECTS))


def open_study(name: str, home: str | Path = "ablate-home") -> Study:
    """Open a study of a home.

    Raises:
        RequestError: there is none of that name.
    """
    ledger = Ledger(Path(home))
    return Study(thaw(ledger.study_folder(name))[0], ledger)
