"""The answer of a study in the form that was asked for: text, a page, figures, a live page."""

from __future__ import annotations

import sys
from pathlib import Path

from ablations.answers import Looked, look, story_from
from ablations.errors import RequestError
from ablations.frozen import thaw
from ablations.ledger import Ledger
from ablations.output import deliver, say, show_result
from ablations.plans import FAILED, Plan
from ablations.report import HTML, render


def show_answer(
    plan: Plan,
    ledger: Ledger,
    form: str,
    *,
    rope: float | None = None,
    output: Path | None = None,
    figures: Path | None = None,
) -> int:
    """Print the answer of a frozen plan, or write it; return the exit code.

    A page goes into the study's folder where it would fill a terminal. Figures go into a folder,
    beside the answer.

    Raises:
        RequestError: a file cannot be written.
    """
    looked = look(plan, ledger, rope=rope)
    if figures is not None:
        from ablations.report.figures import write_figures

        try:
            written = write_figures(story_from(looked, ledger), figures)
        except OSError as error:
            raise RequestError(f"--figures {figures}: {error.strerror}") from None
        none = "this study has no number to draw yet"
        say(f"wrote {len(written)} files into {figures}" if written else f"--figures: {none}")
    if form != HTML:
        deliver(render(looked.document, form), output)
    else:
        text = page_of(looked, ledger)
        if output is None and sys.stdout.isatty():
            output = ledger.study_folder(plan.study) / "report.html"
            deliver(text, output)
            show_result(str(output))
        else:
            deliver(text, output)
    return int(any(outcome.status in FAILED for outcome in looked.outcomes))


def page_of(looked: Looked, ledger: Ledger, *, live: bool = False) -> str:
    """Return the page of a study that was looked at."""
    from ablations.report.flips import flips_of
    from ablations.report.page import render_page

    _, request, _ = thaw(ledger.study_folder(looked.plan.study))
    flips = flips_of(
        looked.plan,
        ledger,
        data=request.data,
        skip_corrupt=request.skip_corrupt,
        outcomes=looked.outcomes,
    )
    return render_page(story_from(looked, ledger), flips, live=live)


def watch(study: str, ledger: Ledger, rope: float | None, port: int) -> None:
    """Serve the page of a study on this machine alone, fresh while the study runs, until Ctrl-C.

    Raises:
        RequestError: there is no such study, or the port is taken.
    """
    from ablations.report.live import serve, state_of

    thaw(ledger.study_folder(study))  # what is wrong with it is said now, not on the page

    def plan() -> Plan:
        return thaw(ledger.study_folder(study))[0]  # `extend` may revise it

    serve(
        lambda: page_of(look(plan(), ledger, rope=rope), ledger, live=True),
        lambda: state_of(plan(), ledger),
        port=port,
        say=say,
    )
