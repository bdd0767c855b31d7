"""What the commands about studies do. Results go to stdout, everything else to stderr.

Longer than most, so that what a study's commands share, to the exit code, is read in one place.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from ablations.asked import (
    check_execution,
    check_format,
    check_rope,
    home_of,
    options_of,
    request_of,
)
from ablations.errors import RequestError
from ablations.ledger import TERMINAL, Ledger
from ablations.output import agreed, as_json, say, show_result

if TYPE_CHECKING:
    from recipes import Facts


_WATCH_SECONDS = 5.0  # a look at 10,000 runs takes one or two


_INTERRUPTED = 130  # exit code where the same command has more to do


def run(arguments: argparse.Namespace) -> int:
    """Plan, train what is missing and print the answer."""
    if arguments.dry_run:
        return plan(arguments)
    from ablations.revisions import check_same
    from ablations.study import plan_study

    check_execution(arguments)
    check_format(arguments.format)
    check_rope(arguments.rope)
    request = request_of(arguments)
    ledger = Ledger(home_of(arguments))
    ledger.check_writable()
    prepared = plan_study(
        request,
        ledger.home,
        arguments.study,
        arguments.device,
        _probe,
        arguments.devices,
    )
    prepared = check_same(prepared, ledger)
    return _carry_out(arguments, prepared, ledger)


def plan(arguments: argparse.Namespace) -> int:
    """Print arms, shared runs, what applies, cost; train nothing."""
    from ablations.answers import certificates_of
    from ablations.foresight import foresee
    from ablations.packing import slots_of
    from ablations.report.planned import planned_document, planned_table
    from ablations.runner import appraise
    from ablations.study import missing_runs, plan_study

    check_execution(arguments)
    if arguments.format not in ("table", "json"):
        raise RequestError(f"--format {arguments.format!r}: a plan is shown as table or json")
    request = request_of(arguments)
    ledger = Ledger(home_of(arguments))
    ledger.check_writable()
    prepared = plan_study(
        request,
        ledger.home,
        arguments.study,
        arguments.device,
        _probe,
        arguments.devices,
    )
    for note in prepared.notes:
        say(note)
    options = options_of(arguments)
    missing = missing_runs(prepared.plan, ledger, retry=options.retry)
    expected: dict[str, float] = {}
    certificates = certificates_of(prepared.plan, ledger)
    if missing:
        expected, proven = appraise(prepared, ledger, options)
        certificates = [one.plain() for one in proven]
    slots = slots_of(prepared.plan.study, len(prepared.plan.runs), options, ledger)
    ahead = foresee(prepared, ledger, options, missing, slots)
    found = planned_document(prepared.plan, missing, expected, slots.count, ahead, certificates)
    show_result(as_json(found) if arguments.format == "json" else planned_table(found))
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Print the answer of a study from the ledger, or serve its page."""
    from ablations.frozen import thaw
    from ablations.report import HTML
    from ablations.reporting import show_answer, watch

    check_format(arguments.format)
    check_rope(arguments.rope)
    ledger = Ledger(home_of(arguments))
    if arguments.watch:
        for given, option in ((arguments.output, "-o"), (arguments.figures, "--figures")):
            if given is not None:
                raise RequestError(f"{option} {given}: --watch serves a page and writes no file")
        if arguments.format not in ("table", HTML):  # the first is the default
            raise RequestError(f"--format {arguments.format!r}: --watch serves a page, html")
        watch(arguments.study, ledger, arguments.rope, arguments.port)
        return 0
    frozen, _, _ = thaw(ledger.study_folder(arguments.study))
    return show_answer(
        frozen,
        ledger,
        arguments.format,
        rope=arguments.rope,
        output=arguments.output,
        figures=arguments.figures,
    )


def status(arguments: argparse.Namespace) -> int:
    """Print how far a study is, or all of them; with --watch again and again until all is done."""
    from ablations.standing import standing_of
    from ablations.standing_table import standing_table

    if arguments.format not in ("table", "json"):
        raise RequestError(f"--format {arguments.format!r}: choose table or json")
    if arguments.watch and (arguments.format != "table" or not sys.stdout.isatty()):
        raise RequestError("--watch shows a table on a terminal: leave it out here")
    ledger = Ledger(home_of(arguments))
    while True:
        studies = [arguments.study] if arguments.study else ledger.studies()
        found, broken = [], False
        for study in studies:
            try:
                found.append(standing_of(ledger, study))
            except RequestError as error:  # of one; the others can be shown
                if arguments.study:
                    raise
                broken = True
                say(f"{study}: {error}")
        none = [] if broken else [f"no study in {ledger.home}"]
        tables = [standing_table(one) for one in found] or none
        if arguments.format == "json":
            tables = [as_json({"schema_version": 1, "studies": found})]
        clear = "\x1b[H\x1b[2J" if arguments.watch else ""
        show_result(clear + "\n".join(tables))
        if not arguments.watch or all(
            one["concluded"] and not one["left"]["runs"] for one in found
        ):
            return int(broken)
        time.sleep(_WATCH_SECONDS)


def extend(arguments: argparse.Namespace) -> int:
    """Make a numbered revision of a study with more components or seeds, and run it."""
    from ablations.revisions import extend as extended
    from ablations.study import plan_study

    check_execution(arguments)
    check_format(arguments.format)
    check_rope(arguments.rope)
    ledger = Ledger(home_of(arguments))
    ledger.check_writable()
    prepared = extended(
        lambda request: plan_study(
            request,
            ledger.home,
            arguments.study,
            arguments.device,
            _probe,
            arguments.devices,
        ),
        ledger,
        arguments.study,
        arguments.add,
        arguments.seeds,
    )
    say(f"study {arguments.study}: revision {prepared.revision}")
    return _carry_out(arguments, prepared, ledger)


def _carry_out(arguments: argparse.Namespace, prepared: Any, ledger: Ledger) -> int:
    from ablations.publishing.attendant import attended
    from ablations.runner import carry_out

    for note in prepared.notes:
        say(note)
    options = options_of(arguments)
    with attended(prepared.plan.study, ledger, options.targets, say) as attendant:
        made = carry_out(
            prepared,
            ledger,
            options,
            say=say,
            agree=lambda words: arguments.yes or agreed(words),
            begun=attendant.begin,
        )
        return _answer(arguments, prepared, ledger, made)


def _answer(arguments: argparse.Namespace, prepared: Any, ledger: Ledger, made: int) -> int:
    """Print what is known of a study whose runs have been made, and return the exit code."""
    from ablations.answers import outcomes_of
    from ablations.plans import FAILED
    from ablations.reporting import show_answer
    from ablations.stages import runs_so_far

    plan = runs_so_far(prepared.plan, ledger)
    statuses = [outcome.status for outcome in outcomes_of(plan, ledger)]
    failed = sum(status in FAILED for status in statuses)
    left = sum(status not in TERMINAL for status in statuses)
    if not made:
        say(f"study {plan.study}: all {len(plan.runs)} runs are in the ledger; trained nothing")
    if failed:
        kinds = Counter(status for status in statuses if status in FAILED)
        words = ", ".join(f"{count} {status}" for status, count in sorted(kinds.items()))
        say(
            f"{failed} of {len(plan.runs)} runs did not finish ({words}); --retry makes them again,"
            f" or --retry {next(iter(kinds))} only those"
        )
    if left:
        say(f"{left} of {len(plan.runs)} runs have not ended; the same command goes on")
    _keep_report(plan.study, ledger)
    code = show_answer(prepared.plan, ledger, arguments.format, rope=arguments.rope)
    return _INTERRUPTED if left and not code else code


def _keep_report(study: str, ledger: Ledger) -> None:
    """Write the answer beside the plan, as `report.json` and `report.md`."""
    from ablations.answers import document_of
    from ablations.frozen import thaw
    from ablations.report import render
    from lightning_modules.files import write_text

    folder = ledger.study_folder(study)
    plan, _, _ = thaw(folder)  # the latest revision, whichever was asked for
    found = document_of(plan, ledger)
    for form, suffix in (("json", "json"), ("markdown", "md")):
        path, text = folder / f"report.{suffix}", render(found, form)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)


def _probe(backbone: str) -> Facts:
    """Probe a backbone where the runs will be made, so that torch is imported there alone."""
    from ablations.bases import probed_here
    from ablations.launch.server import ask

    found: Facts = ask(probed_here, backbone)
    return found
