"""The options that several commands of `ablate` share, in groups."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ablations.launch.slurm_options import slurm_options


def request_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which study is wanted."""
    parser.add_argument("--base", metavar="NAME", help="library recipe, YAML file or timm model")
    recipe_of_option(parser)
    parser.add_argument("--add", metavar="SPEC", help="components, as ra(magnitude=15),ls or paper")
    parser.add_argument("--design", metavar="D", help="ladder (default), screen, auto, ...")
    parser.add_argument(
        "--question",
        metavar="Q",
        help="what an effect means: alone, in_recipe, in_order or average_over_others; without"
        " --design, auto chooses one that answers it",
    )
    parser.add_argument(
        "--budget", type=whole, metavar="RUNS", help="runs that the design may spend"
    )
    parser.add_argument("--seeds", type=whole, metavar="N", help="runs per arm (3)")
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
    parser.add_argument("--max-runs", type=whole, metavar="N", help="runs at most, with --until")
    parser.add_argument(
        "--confirm",
        type=whole,
        metavar="N",
        help="train the base and the arm that is best on minival with N fresh seeds",
    )
    rope_option(parser)
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
    home_option(parser)


def recipe_of_option(parser: argparse.ArgumentParser) -> None:
    """Add the family whose recipe the base takes."""
    parser.add_argument(
        "--recipe-of",
        metavar="FAMILY",
        help="give the base the recipe of resnet_rs or efficientnet_rs, scaled to its depth and"
        " resolution",
    )


def execution_options(parser: argparse.ArgumentParser) -> None:
    """Add what says how a study is carried out."""
    parser.add_argument(
        "--launch",
        default="local",
        metavar="local|ray|slurm",
        help="where runs are made: on this machine, on a Ray cluster, or as jobs of SLURM",
    )
    parser.add_argument(
        "--ray-address",
        metavar="HOST:PORT",
        help="of a cluster that runs already, or auto (without it one is started here)",
    )
    parser.add_argument("--ray-cpus", type=whole, metavar="N", help="of a run")
    parser.add_argument(
        "--ray-gpus",
        type=float,
        metavar="N",
        help="of a run (--devices, where the cluster has some)",
    )
    slurm_options(parser)
    parser.add_argument("--slots", type=whole, metavar="N", help="runs at once")
    parser.add_argument(
        "--devices",
        type=whole,
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
        "--deterministic",
        action="store_true",
        help="on GPUs, only operations that round alike every time, so that a run that is gone on"
        " with ends bit for bit as one that was not stopped (CPUs do so anyway)",
    )
    parser.add_argument(
        "--keep",
        choices=("none", "ema", "last"),
        help="final weights to keep, of every run; ema is the raw ones where none are averaged"
        " (default: the evaluated ones of the base and the full arm)",
    )
    parser.add_argument(
        "--retry",
        nargs="?",
        const="all",
        metavar="WHAT",
        help="make runs again that failed; only some of them as failed, diverged, out_of_memory or"
        " timed_out",
    )
    parser.add_argument(
        "--fail-fast", action="store_true", help="stop the study at the first run that fails"
    )
    parser.add_argument(
        "--time-limit",
        metavar="TIME",
        help="of a run, as 90s, 45m, 12h or 2d (90 is 90s); what took longer can go on with"
        " --retry timed_out",
    )
    parser.add_argument(
        "--checkpoint-every",
        metavar="TIME",
        help="least time between checkpoints of a run, longer where they are slow (60s)",
    )
    parser.add_argument(
        "--checkpoint-epochs", type=whole, metavar="N", help="checkpoint after every N epochs too"
    )
    parser.add_argument(
        "--track",
        metavar="WHERE",
        help="where runs are shown: wandb (the default; offline where nobody is logged in),"
        " tensorboard, csv, several as wandb,csv, or none",
    )
    wandb_options(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask before a long plan")


def wandb_options(parser: argparse.ArgumentParser) -> None:
    """Add the place of runs in W&B."""
    parser.add_argument("--wandb-project", metavar="NAME", help="of W&B (ablate)")
    parser.add_argument("--wandb-entity", metavar="NAME", help="of W&B (your default)")


def rope_option(parser: argparse.ArgumentParser) -> None:
    """Add the largest effect that counts as none."""
    parser.add_argument(
        "--rope", type=float, metavar="POINTS", help="effects within +- this are `equal`"
    )


def home_option(parser: argparse.ArgumentParser) -> None:
    """Add the folder of runs and studies."""
    parser.add_argument(
        "--home", metavar="DIR", help="where runs and studies are kept (ablate-home)"
    )


def output_option(parser: argparse.ArgumentParser) -> None:
    """Add the file that the result goes to."""
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write there, not here")


def format_option(parser: argparse.ArgumentParser, formats: Sequence[str] = ()) -> None:
    """Add the form of the result."""
    parser.add_argument(
        "--format",
        default="table",
        metavar="F",
        help=f"{', '.join(formats or ('table', 'json', 'markdown', 'csv', 'latex', 'html'))}",
    )


def whole(text: str) -> int:
    """Return a whole number, or say what is wrong as argparse has it."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
