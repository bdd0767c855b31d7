"""Commands that look something up, or examine it; none of them makes a run of a study."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from ablations.asked import check_format, home_of
from ablations.errors import RequestError
from ablations.ledger import Ledger
from ablations.output import deliver, say, show_result
from recipes.leaf import nearest


def show(arguments: argparse.Namespace) -> int:
    """Print a resolved recipe as YAML."""
    from ablations.bases import (
        apply_settings,
        check_possible,
        fit_to_data,
        resolve,
        with_facts,
        with_recipe_of,
    )
    from lightning_modules.data import data_facts, parse_data
    from recipes import dumps, parse, stack

    home = home_of(arguments)
    memory = Ledger(home).cache if os.access(home, os.W_OK) else None
    recipe = resolve(arguments.recipe, memory)
    spec = parse_data(arguments.data) if arguments.data else None
    if arguments.recipe_of is not None:
        recipe, notes = with_recipe_of(
            arguments.recipe_of, recipe, arguments.settings, spec.name if spec else None, memory
        )
        for note in notes:
            say(note)
    if spec is not None:
        recipe, note = fit_to_data(recipe, data_facts(spec, memory))
        say(note)
    recipe, note = apply_settings(recipe, arguments.settings)
    say(note)
    recipe = with_facts(recipe, memory)
    check_possible(recipe)
    if arguments.add:
        recipe = stack(recipe, parse(arguments.add))
    show_result(dumps(recipe).rstrip())
    return 0


def simulate(arguments: argparse.Namespace) -> int:
    """Play games with known truth and hold the claims about statistics against them."""
    from ablations.simulation import FEWEST_GAMES, cells_of, check_format, failed, played, render

    if arguments.games < FEWEST_GAMES:
        raise RequestError(
            f"--games {arguments.games}: give {FEWEST_GAMES} or more; what fewer say, chance says"
        )
    if arguments.slots is not None and arguments.slots < 1:
        raise RequestError(f"--slots {arguments.slots}: give 1 or more")
    check_format(arguments.format)
    cells = cells_of(arguments.cells)
    rows = played(
        cells,
        arguments.games,
        arguments.slots or os.cpu_count() or 1,
        lambda cell, left: say(f"{cell.name}: {arguments.games} games; {left} cells left"),
    )
    deliver(render(rows, arguments.games, arguments.format), arguments.output)
    bad = failed(rows)
    for sentence in bad:
        say(f"fails: {sentence}")
    return 1 if bad else 0


def replay(arguments: argparse.Namespace) -> int:
    """Print published numbers as a study's are printed, or what can be replayed."""
    from ablations.report import catalogue

    check_format(arguments.format)
    if arguments.name is None:
        if arguments.format != "table":
            form = arguments.format
            raise RequestError(
                f"--format {form!r}: what can be replayed is listed as table; name one, as in"
                f" ablate replay resnet-rs --format {form}"
            )
        deliver(catalogue.published() + "\n", arguments.output)
        return 0
    from ablations.replay import replayed

    text, note = replayed(arguments.name, arguments.format)
    deliver(text, arguments.output)
    say(note)
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    """Examine one subject: the home, where none is named."""
    from ablations import doctor as subjects
    from ablations.home_check import check_home

    if arguments.format not in ("table", "json"):
        raise RequestError(f"--format {arguments.format!r}: choose table or json")
    subject = arguments.subject or "home"
    if subject not in subjects.SUBJECTS:
        hint = nearest(subject, subjects.SUBJECTS)
        known = ", ".join(subjects.SUBJECTS)
        raise RequestError(f"doctor {subject!r}: choose from {known}{hint}")
    if subject == "home":
        ledger = Ledger(home_of(arguments))
        text, code = check_home(ledger, mend=not arguments.check, form=arguments.format, say=say)
        show_result(text)
        return code
    show_result(subjects.speed(arguments, home_of(arguments), say))
    return 0


def dashboard(arguments: argparse.Namespace) -> int:
    """Make a study's dashboard in W&B, or upload what the server lacks of its runs."""
    first, *more = arguments.words
    if not more:
        from ablations.dashboard import dashboard as made

        arguments.study = first
        return made(arguments)
    if first != "sync" or len(more) > 1:
        raise RequestError(
            f"dashboard {' '.join(arguments.words)!r}: give `dashboard STUDY` or `dashboard sync"
            " STUDY`"
        )
    if arguments.rope is not None or arguments.format != "table":
        raise RequestError("--rope and --format go with `dashboard STUDY`, not with sync")
    from ablations.publishing.sync import sync

    arguments.study = more[0]
    return sync(arguments)


def diff(arguments: argparse.Namespace) -> int:
    """Print what differs between two recipes, runs or studies."""
    from ablations.report.differences import differences

    show_result(differences(Ledger(home_of(arguments)), arguments.first, arguments.second))
    return 0


def listing(arguments: argparse.Namespace) -> int:
    """Print what there is to choose from."""
    from ablations.report import catalogue

    kinds: dict[str, Callable[[], str]] = {
        "components": catalogue.components,
        "recipes": catalogue.recipes,
        "designs": catalogue.designs,
        "data": catalogue.data,
        "leaves": catalogue.leaves,
        "published": catalogue.published,
        "studies": lambda: catalogue.studies(Ledger(home_of(arguments))),
    }
    if arguments.what not in kinds:
        hint = nearest(arguments.what, kinds)
        raise RequestError(f"list {arguments.what!r}: choose from {', '.join(kinds)}{hint}")
    show_result(kinds[arguments.what]())
    return 0
