"""What each command of `ablate` does. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ablations.errors import RequestError
from ablations.ledger import Ledger
from ablations.request import Request, from_plain
from recipes.leaf import nearest

_HOME = "ablate-home"
_CONFIG = "~/.config/ablate.yaml"
_CONFIG_KEYS = ("home", "data", "track", "wandb_project", "wandb_entity")


def own_version() -> str:
    """Return the version of the installed distribution."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ablate-recipes")
    except PackageNotFoundError:
        return "(not installed)"


def run(arguments: argparse.Namespace) -> int:
    """Plan, train what is missing and print the answer."""
    if arguments.dry_run:
        return plan(arguments)
    from ablations.revisions import check_same
    from ablations.study import plan_study

    _check_execution(arguments)
    _check_format(arguments.format)
    _check_rope(arguments.rope)
    request = _request(arguments)
    ledger = Ledger(_home(arguments))
    ledger.check_writable()
    prepared = plan_study(request, ledger.home, arguments.study, arguments.device)
    prepared = check_same(prepared, ledger)
    return _carry_out(arguments, prepared, ledger)


def plan(arguments: argparse.Namespace) -> int:
    """Print arms, shared runs, what applies, cost; train nothing."""
    from ablations.report.planned import planned_document, planned_table
    from ablations.runner import choose_slots, price
    from ablations.study import missing_runs, plan_study

    _check_execution(arguments)
    if arguments.format not in ("table", "json"):
        raise RequestError(f"--format {arguments.format!r}: a plan is shown as table or json")
    request = _request(arguments)
    ledger = Ledger(_home(arguments))
    ledger.check_writable()
    prepared = plan_study(request, ledger.home, arguments.study, arguments.device)
    for note in prepared.notes:
        _say(note)
    options = _options(arguments)
    missing = missing_runs(prepared.plan, ledger, retry=arguments.retry)
    expected = price(prepared, ledger, options) if missing else {}
    slots = choose_slots(len(prepared.plan.runs), options)
    found = planned_document(prepared.plan, missing, expected, slots.count)
    show_result(_json(found) if arguments.format == "json" else planned_table(found))
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Print the answer of a study from the ledger."""
    from ablations.frozen import thaw

    _check_format(arguments.format)
    _check_rope(arguments.rope)
    ledger = Ledger(_home(arguments))
    frozen, _, _ = thaw(ledger.study_folder(arguments.study))
    return _report(frozen, ledger, arguments.format, arguments.rope, arguments.output)


def status(arguments: argparse.Namespace) -> int:
    """Print how far a study is, or all of them."""
    from ablations.report.standing import standing

    ledger = Ledger(_home(arguments))
    studies = [arguments.study] if arguments.study else ledger.studies()
    if not studies:
        show_result(f"no study in {ledger.home}")
    for study in studies:
        show_result(standing(ledger, study))
    return 0


def extend(arguments: argparse.Namespace) -> int:
    """Make a numbered revision of a study with more components or seeds, and run it."""
    from ablations.revisions import extend as extended
    from ablations.study import plan_study

    _check_execution(arguments)
    _check_format(arguments.format)
    _check_rope(arguments.rope)
    ledger = Ledger(_home(arguments))
    ledger.check_writable()
    prepared = extended(
        lambda request: plan_study(request, ledger.home, arguments.study, arguments.device),
        ledger,
        arguments.study,
        arguments.add,
        arguments.seeds,
    )
    _say(f"study {arguments.study}: revision {prepared.revision}")
    return _carry_out(arguments, prepared, ledger)


def show(arguments: argparse.Namespace) -> int:
    """Print a resolved recipe as YAML."""
    from ablations.bases import apply_settings, fit_to_data, resolve, with_facts
    from lightning_modules.data import data_facts, parse_data
    from recipes import dumps, parse, stack

    home = _home(arguments)
    memory = Ledger(home).cache if os.access(home, os.W_OK) else None
    recipe = resolve(arguments.recipe, memory)
    if arguments.data:
        recipe, note = fit_to_data(recipe, data_facts(parse_data(arguments.data), memory))
        _say(note)
    recipe, note = apply_settings(recipe, arguments.settings)
    _say(note)
    recipe = with_facts(recipe, memory)
    if arguments.add:
        recipe = stack(recipe, parse(arguments.add))
    show_result(dumps(recipe).rstrip())
    return 0


def diff(arguments: argparse.Namespace) -> int:
    """Print what differs between two recipes, runs or studies."""
    from ablations.report.differences import differences

    show_result(differences(Ledger(_home(arguments)), arguments.first, arguments.second))
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
        "studies": lambda: catalogue.studies(Ledger(_home(arguments))),
    }
    if arguments.what not in kinds:
        hint = nearest(arguments.what, kinds)
        raise RequestError(f"list {arguments.what!r}: choose from {', '.join(kinds)}{hint}")
    show_result(kinds[arguments.what]())
    return 0


def _carry_out(arguments: argparse.Namespace, prepared: Any, ledger: Ledger) -> int:
    from ablations.report.notes import FAILED
    from ablations.runner import carry_out
    from ablations.study import outcomes_of

    for note in prepared.notes:
        _say(note)
    made = carry_out(
        prepared,
        ledger,
        _options(arguments),
        say=_say,
        agree=lambda words: arguments.yes or _agreed(words),
    )
    plan = prepared.plan
    failed = sum(outcome.status in FAILED for outcome in outcomes_of(plan, ledger))
    if not made:
        _say(f"study {plan.study}: all {len(plan.runs)} runs are in the ledger; trained nothing")
    if failed:
        _say(f"{failed} of {len(plan.runs)} runs failed; --retry makes them again")
    _keep_report(plan.study, ledger)
    return _report(prepared.plan, ledger, arguments.format, arguments.rope, None)


def _keep_report(study: str, ledger: Ledger) -> None:
    """Write the answer beside the plan, as `report.json` and `report.md`."""
    from ablations.frozen import thaw
    from ablations.report import document, render
    from ablations.study import outcomes_of
    from lightning_modules.files import write_text

    folder = ledger.study_folder(study)
    plan, _, _ = thaw(folder)  # the latest revision, whichever was asked for
    found = document(plan, outcomes_of(plan, ledger))
    for form, suffix in (("json", "json"), ("markdown", "md")):
        path, text = folder / f"report.{suffix}", render(found, form)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)


def _report(plan: Any, ledger: Ledger, form: str, rope: float | None, output: Path | None) -> int:
    from ablations.report import document, render
    from ablations.report.notes import FAILED
    from ablations.study import outcomes_of

    outcomes = outcomes_of(plan, ledger)
    text = render(document(plan, outcomes, rope=rope), form)
    if output is None:
        show_result(text.rstrip("\n"))
    else:
        from lightning_modules.files import write_text

        try:
            if output.exists() and not output.is_file():  # a pipe or device: never replaced
                output.write_text(text, encoding="utf-8")
            else:
                write_text(output.resolve(), text)
        except OSError as error:
            raise RequestError(f"{output} cannot be written: {error.strerror}") from None
    bad = [outcome for outcome in outcomes if outcome.status in FAILED]
    return 1 if bad else 0


def _request(arguments: argparse.Namespace) -> Request:
    """Return the request of the command line, over that of a file where one is named."""
    tree: dict[str, Any] = {}
    if arguments.file:
        from recipes.yaml import read_text, read_tree

        path = Path(arguments.file)
        keys = "base, add and, where wanted, design, seeds, data, settings, skip_corrupt"
        tree = from_plain(read_tree(read_text(path), str(path), keys), str(path)).plain()
    config = _config()
    if tree.get("data") is None and "data" in config:
        tree["data"] = config["data"]
    for key in ("base", "add", "design", "seeds", "data", "settings", "skip_corrupt"):
        value = getattr(arguments, key)
        if value is not None:
            tree[key] = value
    missing = [f"--{key}" for key in ("base", "add") if key not in tree]
    if missing:
        raise RequestError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing, as in"
            " ablate --base tiny --add ls,se"
        )
    return from_plain(tree, "the request")


def _options(arguments: argparse.Namespace) -> Any:
    from ablations.study import Options

    config = _config()
    return Options(
        device=arguments.device,
        slots=arguments.slots,
        keep=arguments.keep,
        retry=arguments.retry,
        track=arguments.track or config.get("track", "wandb"),
        wandb_project=_wandb(arguments.wandb_project, "WANDB_PROJECT", config),
        wandb_entity=_wandb(arguments.wandb_entity, "WANDB_ENTITY", config),
    )


def _wandb(given: str | None, variable: str, config: dict[str, Any]) -> str | None:
    """Return the option, else the client's own variable, else the personal default."""
    return given or os.environ.get(variable) or config.get(variable.lower())


def _config() -> dict[str, Any]:
    """Return the personal defaults of `~/.config/ablate.yaml`; empty where there are none."""
    try:
        path = Path(_CONFIG).expanduser()
    except RuntimeError:  # a user without a home folder
        return {}
    if not path.exists():
        return {}
    from recipes.yaml import read_text, read_tree

    text = read_text(path)
    if all(not line.strip() or line.lstrip().startswith("#") for line in text.splitlines()):
        return {}
    tree = read_tree(text, str(path))
    wrong = [
        f"unknown {key!r}{nearest(key, _CONFIG_KEYS)}" for key in tree if key not in _CONFIG_KEYS
    ]
    wrong += [
        f"{key} = {value!r} is not a text"
        for key, value in tree.items()
        if key in _CONFIG_KEYS and not isinstance(value, str)
    ]
    if tree.get("track", "none") not in ("wandb", "none") and isinstance(tree["track"], str):
        wrong.append(f"track = {tree['track']!r} is not wandb or none")
    if wrong:
        raise RequestError(f"{path}: {'; '.join(wrong)}; it may hold {', '.join(_CONFIG_KEYS)}")
    return tree


def _home(arguments: argparse.Namespace) -> Path:
    given = arguments.home if arguments.home is not None else _config().get("home", _HOME)
    if not given:
        raise RequestError("--home '': give a folder")
    home = Path(given)
    try:
        return home.expanduser()
    except RuntimeError:
        raise RequestError(f"--home {str(home)!r}: there is no such user") from None


def _check_execution(arguments: argparse.Namespace) -> None:
    from ablations.runner import check_options

    check_options(arguments.launch, arguments.devices, arguments.slots, arguments.device)


def _check_format(form: str) -> None:
    from ablations.report import FORMATS

    if form not in FORMATS:
        hint = nearest(form, FORMATS)
        raise RequestError(f"--format {form!r}: choose from {', '.join(FORMATS)}{hint}")


def _check_rope(rope: float | None) -> None:
    if rope is not None and not 0 < rope < float("inf"):
        raise RequestError(f"--rope {rope:g}: give accuracy points above 0")


def _agreed(words: str) -> bool:
    """Ask on a terminal; elsewhere go on."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    print(f"This takes {words}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _json(value: Any) -> str:
    import json

    return json.dumps(value, indent=2, allow_nan=False)


def show_result(text: str) -> None:
    """Print a result; a reader that leaves, as `ablate ... | head` does, is no error."""
    try:
        print(text, end="\n" if text else "", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise RequestError(f"the result cannot be written: {error.strerror}") from None


def _say(text: str) -> None:
    if text:
        print(text, file=sys.stderr, flush=True)
