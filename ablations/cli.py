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

from ablations import commands
from ablations.errors import RequestError
from lightning_modules.data.errors import DataError
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
    try:
        return _carry_out(words)
    except (RecipeError, DataError, RequestError) as error:
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


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _carry_out(words: list[str]) -> int:
    try:
        arguments = _parse(words)
    except SystemExit as stop:  # argparse's --help and --version, printed without a flush
        commands.show_result("")
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
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ablate {commands.own_version()}")
    under = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)

    run = _command(under, "run", "train what is missing, then report (the default)", commands.run)
    run.add_argument("file", nargs="?", metavar="STUDY.yaml", help="the request from a file")
    _request_options(run)
    _execution_options(run)
    run.add_argument("--dry-run", action="store_true", help="as `ablate plan`")
    _format_option(run)

    plan = _command(under, "plan", "say what would run and how long; train nothing", commands.plan)
    plan.add_argument("file", nargs="?", metavar="STUDY.yaml", help="the request from a file")
    _request_options(plan)
    _execution_options(plan)
    _format_option(plan, ("table", "json"))

    status = _command(under, "status", "what is running, done, failed and left", commands.status)
    status.add_argument("study", nargs="?", metavar="STUDY")
    _home_option(status)

    report = _command(under, "report", "the answer of a study, from the ledger", commands.report)
    report.add_argument("study", metavar="STUDY")
    _output_option(report)
    _rope_option(report)
    _home_option(report)
    _format_option(report)

    diff = _command(under, "diff", "compare two recipes, runs or studies", commands.diff)
    diff.add_argument("first", metavar="A")
    diff.add_argument("second", metavar="B")
    _home_option(diff)

    show = _command(under, "show", "a resolved recipe as YAML", commands.show)
    show.add_argument("recipe", metavar="RECIPE")
    _recipe_of_option(show)
    show.add_argument("--add", metavar="SPEC", help="with these components applied")
    show.add_argument("--data", metavar="DATA", help="as its profile makes it for these data")
    show.add_argument("--set", action="append", default=[], metavar="path=value", dest="settings")
    _home_option(show)

    listing = _command(under, "list", "what there is to choose from", commands.listing)
    listing.add_argument(
        "what",
        nargs="?",
        default="components",
        metavar="components|recipes|designs|data|studies|leaves|published",
    )
    _home_option(listing)

    extend = _command(under, "extend", "more components or seeds for a study", commands.extend)
    extend.add_argument("study", metavar="STUDY")
    extend.add_argument("--add", metavar="SPEC", help="components after those it has")
    extend.add_argument("--seeds", type=_whole, metavar="N", help="seeds in all")
    _rope_option(extend)
    _home_option(extend)
    _execution_options(extend)
    _format_option(extend)

    replay = _command(under, "replay", "published tables in the form of a study", commands.replay)
    replay.add_argument(
        "name", nargs="?", metavar="NAME", help="as resnet-rs; without: what is there"
    )
    _output_option(replay)
    _format_option(replay)

    simulate = _command(
        under, "simulate", "games with known truth through the analysis", commands.simulate
    )
    simulate.add_argument(
        "cells",
        nargs="?",
        default="all",
        metavar="CELLS",
        help="coverage, null, screen, until, width, power; several as coverage,null (all)",
    )
    simulate.add_argument("--games", type=_whole, default=4000, metavar="N", help="a cell (4000)")
    simulate.add_argument("--slots", type=_whole, metavar="N", help="processes (one per core)")
    _output_option(simulate)
    _format_option(simulate)
    _doctor(_command(under, "doctor", "what is slow, and what to change", commands.doctor))
    return parser


def _doctor(parser: _Parser) -> None:
    """Give `doctor` its subjects; alone it lists them."""
    parser.add_argument("subject", nargs="?", metavar="SUBJECT", help="speed; without: the list")
    parser.add_argument("--base", metavar="NAME", help="library recipe, YAML file or timm model")
    _recipe_of_option(parser)
    parser.add_argument("--add", metavar="SPEC", help="with all of these components applied")
    parser.add_argument("--data", metavar="DATA", help="digits, cifar10:DIR, imagefolder:DIR, ...")
    parser.add_argument("--set", action="append", default=[], metavar="path=value", dest="settings")
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1")
    parser.add_argument(
        "--seconds", type=_whole, default=10, metavar="N", help="to time steps for (10)"
    )
    _home_option(parser)
    _format_option(parser, ("table", "json"))


def _command(under: Any, name: str, words: str, carry_out: Any) -> _Parser:
    parser: _Parser = under.add_parser(name, help=words, description=words, allow_abbrev=False)
    parser.set_defaults(carry_out=carry_out)
    return parser


def _request_options(parser: _Parser) -> None:
    parser.add_argument("--base", metavar="NAME", help="library recipe, YAML file or timm model")
    _recipe_of_option(parser)
    parser.add_argument("--add", metavar="SPEC", help="components, as ra(magnitude=15),ls or paper")
    parser.add_argument("--design", metavar="D", help="ladder (default), screen, auto, ...")
    parser.add_argument(
        "--question",
        metavar="Q",
        help="what an effect means: alone, in_recipe, in_order or average_over_others; without"
        " --design, auto chooses one that answers it",
    )
    parser.add_argument(
        "--budget", type=_whole, metavar="RUNS", help="runs that the design may spend"
    )
    parser.add_argument("--seeds", type=_whole, metavar="N", help="runs per arm (3)")
    parser.add_argument(
        "--interaction",
        action="append",
        metavar="A:B",
        dest="interactions",
        help="what two components are worth together beyond each by itself; again for more",
    )
    parser.add_argument(
        "--null",
        action="store_true",
        default=None,
        help="add arms that are the base again, and a dummy component: true zeros",
    )
    parser.add_argument(
        "--noise", type=float, metavar="POINTS", help="sd between seeds to plan with"
    )
    parser.add_argument(
        "--until",
        metavar="verdicts|WIDTH",
        help="add seeds until all is resolved, or until intervals are +- WIDTH points",
    )
    parser.add_argument("--max-runs", type=_whole, metavar="N", help="runs at most, with --until")
    parser.add_argument(
        "--confirm",
        type=_whole,
        metavar="N",
        help="train the base and the arm that is best on minival with N fresh seeds",
    )
    _rope_option(parser)
    parser.add_argument("--data", metavar="DATA", help="digits, cifar10:DIR, imagefolder:DIR, ...")
    parser.add_argument(
        "--set",
        action="append",
        metavar="path=value",
        dest="settings",
        help="a leaf of the base, as optim.lr=0.05; again for more",
    )
    parser.add_argument(
        "--skip-corrupt",
        action="store_true",
        default=None,
        help="leave out images that cannot be decoded, and say which",
    )
    parser.add_argument("--study", metavar="NAME", help="default: made from the request")
    _home_option(parser)


def _recipe_of_option(parser: _Parser) -> None:
    parser.add_argument(
        "--recipe-of",
        metavar="FAMILY",
        help="give the base the recipe of resnet_rs or efficientnet_rs, scaled to its depth and"
        " resolution",
    )


def _execution_options(parser: _Parser) -> None:
    parser.add_argument("--launch", default="local", metavar="local", help="where runs are made")
    parser.add_argument("--slots", type=_whole, metavar="N", help="runs at once")
    parser.add_argument(
        "--devices",
        type=_whole,
        default=1,
        metavar="N",
        help="GPUs, or processes on a CPU, per run (1)",
    )
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1")
    parser.add_argument(
        "--compile",
        choices=("never", "auto", "always"),
        default="never",
        help="torch.compile the network's blocks: auto where a run is long enough to win it back",
    )
    parser.add_argument(
        "--keep",
        choices=("none", "ema", "last"),
        help="final weights to keep, of every run; ema is the raw ones where none are averaged"
        " (default: the evaluated ones of the base and the full arm)",
    )
    parser.add_argument("--retry", action="store_true", help="make failed runs again")
    parser.add_argument(
        "--track",
        choices=("wandb", "none"),
        help="where runs are logged: W&B (offline unless a project is set), or none",
    )
    parser.add_argument("--wandb-project", metavar="NAME")
    parser.add_argument("--wandb-entity", metavar="NAME")
    parser.add_argument("--yes", action="store_true", help="do not ask before a long plan")


def _rope_option(parser: _Parser) -> None:
    parser.add_argument(
        "--rope", type=float, metavar="POINTS", help="effects within +- this are `equal`"
    )


def _home_option(parser: _Parser) -> None:
    parser.add_argument(
        "--home", metavar="DIR", help="where runs and studies are kept (ablate-home)"
    )


def _output_option(parser: _Parser) -> None:
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write there, not here")


def _format_option(parser: _Parser, formats: Sequence[str] = ()) -> None:
    parser.add_argument(
        "--format",
        default="table",
        metavar="F",
        help=f"{', '.join(formats or ('table', 'json', 'markdown', 'csv'))}",
    )


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _indented(text: str) -> str:
    return text.replace("\n", "\n        ")
