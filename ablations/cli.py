"""`ablate`: the command line. Parses and prints; what it prints is made elsewhere.

argparse, because it starts at once and its behaviour is fixed; a first word that is no command
and no option is told with the nearest command, and no command at all means `run`.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from ablations import commands, lookups
from ablations.errors import RequestError
from ablations.option_groups import (
    execution_options,
    format_option,
    home_option,
    output_option,
    recipe_of_option,
    request_options,
    rope_option,
    wandb_options,
    whole,
)
from ablations.output import show_result
from ablations.version import own_version
from lightning_modules.files import refuse_everybody
from recipes import RecipeError
from recipes.library import is_file_name

COMMANDS = (
    "run",
    "plan",
    "status",
    "report",
    "diff",
    "show",
    "list",
    "extend",
    "replay",
    "simulate",
    "dashboard",
    "doctor",
)
# Files of somebody else, and full or read-only disks: told in words wherever they are met.
_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
_MISTAKES = (errno.ENAMETOOLONG, errno.ELOOP)  # of names that were given
_EPILOG = """\
examples:
  ablate --base tiny --add ls,sd,ra,se,resnetd           a small real ablation on the digits
  ablate --base resnet200 --add ra,ls,sd,se,resnetd      the paper's backbone
  ablate plan --base resnet50 --add paper --data imagenet:DIR
  ablate list components
  ablate replay resnet-rs                                the paper's own table
  ablate simulate coverage                               do intervals hold a truth that is known?

exit codes: 0 done; 1 finished, but arms failed (or claims); 2 the request is wrong, nothing was
trained; 130 interrupted, the same command goes on"""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the longest command beside its words: argparse forgets that it is indented."""

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            self._action_max_length += self._indent_increment


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one message, with the nearest option, and exits with 2."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message}; see `{self.prog} --help`")

    def parse_all(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse every word, or tell those that are not known."""
        found, unknown = self.parse_known_args(words)
        if unknown:
            options = [name for action in self._actions_of(words) for name in action.option_strings]
            word = unknown[0].partition("=")[0]
            close = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
            hint = f"; did you mean {close[0]}?" if close else ""
            self.error(f"{word!r} is not known here{hint}")
        return found

    def _actions_of(self, words: Sequence[str]) -> list[argparse.Action]:
        found = list(self._actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, parser in action.choices.items():
                    found += parser._actions if name in words[:1] else []
        return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        signal.signal(signal.SIGTERM, _interrupt)  # a scheduler's polite end is Ctrl-C's
        refuse_everybody()
    try:
        return _carry_out(words)
    except _refusals() as error:
        print(f"ablate: {_indented(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in _NOT_OURS + _MISTAKES:
            raise
        where = f": {error.filename}" if error.filename else ""
        if error.errno in _MISTAKES:
            print(f"ablate: {error.strerror}{where}", file=sys.stderr)
            return 2
        print(f"ablate: {error.strerror}{where}; what had finished is kept", file=sys.stderr)
        return 2 if isinstance(error, PermissionError) else 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one must not end the goodbye
        print(
            "ablate: interrupted; what had finished is kept, and the same command goes on",
            file=sys.stderr,
        )
        return 130


def _refusals() -> tuple[type[Exception], ...]:
    """Return the errors that are told in words. Asked for only when there is an error.

    One about data cannot come from a package that was not loaded so far; loading it takes 0.3 s
    (NumPy), for which `ablate --help` and `status` need not wait.
    """
    module = sys.modules.get("lightning_modules.data.errors")
    about_data = () if module is None else (module.DataError,)
    return (RecipeError, RequestError, *about_data)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt("SIGTERM")  # jobs on a cluster outlive this process, not a Ctrl-C


def _carry_out(words: list[str]) -> int:
    try:
        arguments = _parse(words)
    except SystemExit as stop:  # argparse's --help and --version, printed without a flush
        show_result("")
        return int(stop.code or 0)
    return int(arguments.carry_out(arguments))


def _parse(words: list[str]) -> argparse.Namespace:
    parser = _build()
    first = words[0] if words else ""
    if first and not first.startswith("-") and first not in COMMANDS:
        close = difflib.get_close_matches(first, COMMANDS, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]}?" if close else ""
        hint = f"; did you mean `run {first}`?" if is_file_name(first) else hint
        raise RequestError(
            f"there is no command {first!r}: the commands are {', '.join(COMMANDS)}{hint}"
        )
    if first not in (*COMMANDS, "-h", "--help", "--version", ""):
        words = ["run", *words]
    found = parser.parse_all(words)
    if not hasattr(found, "carry_out"):
        parser.print_help(sys.stderr)
        raise RequestError("what should be ablated? give --base NAME --add COMPONENTS")
    return found


def _build() -> _Parser:
    parser = _Parser(
        prog="ablate",
        description="Which of these changes made the model better, how sure is that, and was it"
        " training or architecture? Without a command: run.",
        epilog=_EPILOG,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ablate {own_version()}")
    under = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)

    run = _command(under, "run", "train what is missing, then report (the default)", commands.run)
    run.add_argument("file", nargs="?", metavar="STUDY.yaml", help="the request from a file")
    request_options(run)
    execution_options(run)
    run.add_argument("--dry-run", action="store_true", help="as `ablate plan`")
    format_option(run)

    plan = _command(under, "plan", "say what would run and how long; train nothing", commands.plan)
    plan.add_argument("file", nargs="?", metavar="STUDY.yaml", help="the request from a file")
    request_options(plan)
    execution_options(plan)
    format_option(plan, ("table", "json"))

    status = _command(under, "status", "what is running, done, failed and left", commands.status)
    status.add_argument("study", nargs="?", metavar="STUDY")
    status.add_argument("--watch", action="store_true", help="look again until all is done")
    home_option(status)
    format_option(status, ("table", "json"))

    report = _command(under, "report", "the answer of a study, from the ledger", commands.report)
    report.add_argument("study", metavar="STUDY")
    output_option(report)
    report.add_argument(
        "--figures", type=Path, metavar="DIR", help="write its figures as PDF, SVG and PNG too"
    )
    report.add_argument(
        "--watch", action="store_true", help="serve the page on this machine, fresh as runs end"
    )
    report.add_argument(
        "--port", type=int, default=8642, metavar="N", help="of --watch; 0: any free one (8642)"
    )
    rope_option(report)
    home_option(report)
    format_option(report)

    diff = _command(under, "diff", "compare two recipes, runs or studies", lookups.diff)
    diff.add_argument("first", metavar="A")
    diff.add_argument("second", metavar="B")
    home_option(diff)

    show = _command(under, "show", "a resolved recipe as YAML", lookups.show)
    show.add_argument("recipe", metavar="RECIPE")
    recipe_of_option(show)
    show.add_argument("--add", metavar="SPEC", help="with these components applied")
    show.add_argument("--data", metavar="DATA", help="as its profile makes it for these data")
    show.add_argument("--set", action="append", default=[], metavar="path=value", dest="settings")
    home_option(show)

    listing = _command(under, "list", "what there is to choose from", lookups.listing)
    listing.add_argument(
        "what",
        nargs="?",
        default="components",
        metavar="components|recipes|designs|data|studies|leaves|published",
    )
    home_option(listing)

    extend = _command(under, "extend", "more components or seeds for a study", commands.extend)
    extend.add_argument("study", metavar="STUDY")
    extend.add_argument("--add", metavar="SPEC", help="components after those it has")
    extend.add_argument("--seeds", type=whole, metavar="N", help="seeds in all")
    rope_option(extend)
    home_option(extend)
    execution_options(extend)
    format_option(extend)

    replay = _command(under, "replay", "published tables in the form of a study", lookups.replay)
    replay.add_argument(
        "name", nargs="?", metavar="NAME", help="as resnet-rs; without: what is there"
    )
    output_option(replay)
    format_option(replay)

    simulate = _command(
        under, "simulate", "games with known truth through the analysis", lookups.simulate
    )
    simulate.add_argument(
        "cells",
        nargs="?",
        default="all",
        metavar="CELLS",
        help="coverage, null, screen, until, width, power; several as coverage,null (all)",
    )
    simulate.add_argument("--games", type=whole, default=4000, metavar="N", help="a cell (4000)")
    simulate.add_argument("--slots", type=whole, metavar="N", help="processes (one per core)")
    output_option(simulate)
    format_option(simulate, ("table", "json", "markdown", "csv"))
    _dashboard(_command(under, "dashboard", "a study in W&B", lookups.dashboard))
    _doctor(_command(under, "doctor", "check and mend a home; or what is slow", lookups.doctor))
    return parser


def _dashboard(parser: _Parser) -> None:
    """Let `dashboard` name a study, with `sync` before it or not."""
    parser.usage = f"{parser.prog} [-h] [sync] STUDY [options]"
    parser.add_argument(
        "words",
        nargs="+",
        metavar="STUDY",
        help="whose workspace and report are made, or made anew; with `sync` before it: upload the"
        " runs that the server lacks (`sync` alone is a study of that name)",
    )
    rope_option(parser)
    wandb_options(parser)
    home_option(parser)
    format_option(parser, ("table", "json"))


def _doctor(parser: _Parser) -> None:
    """Give `doctor` its subjects; alone it looks at the home."""
    parser.add_argument(
        "subject",
        nargs="?",
        metavar="SUBJECT",
        help="home (the default): mend what is damaged or left over; speed: what bounds a run",
    )
    parser.add_argument(
        "--check", action="store_true", help="of the home: say what is wrong, mend nothing"
    )
    parser.add_argument("--base", metavar="NAME", help="library recipe, YAML file or timm model")
    recipe_of_option(parser)
    parser.add_argument("--add", metavar="SPEC", help="with all of these components applied")
    parser.add_argument("--data", metavar="DATA", help="digits, cifar10:DIR, imagefolder:DIR, ...")
    parser.add_argument("--set", action="append", default=[], metavar="path=value", dest="settings")
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1")
    parser.add_argument(
        "--seconds", type=whole, default=10, metavar="N", help="to time steps for (10)"
    )
    home_option(parser)
    format_option(parser, ("table", "json"))


def _command(under: Any, name: str, words: str, carry_out: Any) -> _Parser:
    parser: _Parser = under.add_parser(name, help=words, description=words, allow_abbrev=False)
    parser.set_defaults(carry_out=carry_out)
    return parser


def _indented(text: str) -> str:
    return text.replace("\n", "\n        ")
