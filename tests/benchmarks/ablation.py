"""A whole ablation against a shell loop: `python tests/benchmarks/ablation.py digits|jpegs`.

The loop starts a process per arm and seed that trains with timm's public API (`peer.py`, or a real
training script of timm with `--peer-script`); ours is one `ablate` command in a fresh home, its
start, certificates and report counted. Both train resnet10t by SGD with a cosine on the same image
files, batch and epochs, in the same six arms: the base, then RandAugment (timm's, 2 of magnitude
10), label smoothing 0.1, stochastic depth 0.1, an average of decay 0.9, dropout 0.25, each on top
of those before it. Rounds are paired, and who goes first alternates.

What is not the same: timm warps with the crop's interpolation (bicubic) and fills with ImageNet's
mean, our `timm` space with bilinear or bicubic and mid-grey, as `rand_augment_transform` does by
itself; timm's average begins at the first step's weights, ours at the initial ones. A real script
evaluates each epoch, and raw weights beside averaged ones; `peer.py` and ours evaluate once.

`digits`: scikit-learn's digits as 32-pixel PNG files, 1437 to train on and 360 to evaluate, 1
epoch, 3 seeds. `jpegs`: 2,000 + 500 JPEG files of 64 pixels, 2 epochs, 2 seeds, cut from
scikit-learn's two photographs (ten classes of regions), or taken from `--data DIR`. `--smoke`: two
arms, one seed and 192 + 48 images, to see that it works; its ratio means nothing.

Memory: of a peer the largest process of its tree (the kernel's maximum resident size), which its
loader workers come on top of; of ours `peak_memory_bytes` of a result, the same of the one worker
that trains. Both count libraries that are shared with other processes.

Longer than most: two sides, their images and the table are one measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from agreement import Agreement, agreement
from PIL import Image

HERE = Path(__file__).parent
ARMS = ("base", "ra", "ls", "sd", "ema", "do")
OURS = (
    'ra(magnitude=10,space="timm")',
    "ls(epsilon=0.1)",
    'sd(rate=0.1,rule="linear")',
    "ema(decay=0.9,warmup=false)",
    "do(rate=0.25)",
)
PEERS = {  # by arm: flags of our stand-in, and of timm's script
    "ra": (["--aa", "rand-m10-n2"], ["--aa", "rand-m10-n2"]),
    "ls": (["--smoothing", "0.1"], ["--smoothing", "0.1"]),
    "sd": (["--drop-path", "0.1"], ["--drop-path", "0.1"]),
    "ema": (["--ema", "0.9"], ["--model-ema", "--model-ema-decay", "0.9"]),
    "do": (["--drop", "0.25"], ["--drop", "0.25"]),
}


@dataclass(frozen=True)
class Setting:
    """What both sides train."""

    size: int
    epochs: int
    seeds: int
    images: tuple[int, int]  # to train on and to evaluate, where they are made here


SETTINGS = {
    "digits": Setting(32, 1, 3, (1437, 360)),
    "jpegs": Setting(64, 2, 2, (2000, 500)),
}


def main() -> None:
    """Run the rounds; print a table, write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--data", type=Path, help="train/<class> and validation/<class> of images")
    parser.add_argument("--peer-script", help="timm's train.py in place of peer.py")
    parser.add_argument("--arms", type=int, default=len(ARMS), help="only the first so many")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--smoke", action="store_true", help="a minute's trial of the commands")
    args = parser.parse_args()
    setting = SETTINGS[args.setting]
    if args.smoke:
        setting = replace(setting, epochs=1, seeds=1, images=(192, 48))
        args.rounds, args.arms = 1, 2
    if not 2 <= args.arms <= len(ARMS):
        parser.error(f"--arms {args.arms}: give 2 to {len(ARMS)}")
    seeds = args.seeds or setting.seeds
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        root = args.data or made(args.setting, setting.images, Path(folder) / "images")
        for number in range(args.rounds):
            sides = [
                ("peer", lambda: peer(setting, root, seeds, args.arms, args.peer_script)),
                ("ours", lambda: ours(setting, root, seeds, args.arms)),
            ]
            row: dict[str, Any] = {}
            for name, side in sides if number % 2 == 0 else reversed(sides):
                row[name] = side()
                print(f"round {number + 1}, {name}: {row[name]['seconds']:.1f} s", flush=True)
            rows.append(row)
    report(args, seeds, rows)


def peer(setting: Setting, root: Path, seeds: int, arms: int, script: str | None) -> dict[str, Any]:
    """Return seconds, accuracies by arm and memory of a loop of processes."""
    top1: dict[str, list[float]] = {arm: [] for arm in ARMS[:arms]}
    memory, workers = 0, 0
    began = time.perf_counter()
    for seed in range(seeds):
        flags: list[str] = []
        for arm in ARMS[:arms]:
            flags += PEERS.get(arm, ([], []))[script is not None]
            with tempfile.TemporaryDirectory() as out:
                command = [sys.executable, script or str(HERE / "peer.py")]
                # The arm's flags come last: of a flag given twice the last one counts.
                command += _common(setting, root, out, seed, script is not None) + flags
                words, resident = _ended(command, Path(out) / "words.txt")
                said = _summary(Path(out)) if script else json.loads(words.splitlines()[-1])
            top1[arm].append(said["top1"])
            memory = max(memory, resident)
            workers = max(workers, said.get("peak_memory_bytes_of_a_loader_worker", 0))
    return {
        "seconds": time.perf_counter() - began,
        "top1": top1,
        "memory": memory,
        "memory_of_a_loader_worker": workers or None,
    }


def _ended(command: list[str], words: Path) -> tuple[str, int]:
    """Run a command; return what it wrote and the largest resident size of its processes, bytes."""
    with words.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}\n{words.read_text()[-2000:]}")
    return words.read_text(), usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _common(setting: Setting, root: Path, out: str, seed: int, script: bool) -> list[str]:
    if not script:
        return [
            *("--data", str(root), "--out", out, "--size", str(setting.size)),
            *("--epochs", str(setting.epochs), "--seed", str(seed)),
        ]
    return [
        *("--data-dir", str(root), "--output", out, "--model", "resnet10t"),
        *("--num-classes", str(len(list((root / "train").iterdir())))),
        *("--input-size", "3", str(setting.size), str(setting.size), "--seed", str(seed)),
        *("--epochs", str(setting.epochs), "--batch-size", "64", "--workers", "2"),
        *("--opt", "sgd", "--lr", "0.1", "--momentum", "0.9", "--weight-decay", "2e-5"),
        *("--sched", "cosine", "--sched-on-updates", "--warmup-epochs", "0"),
        *("--cooldown-epochs", "0", "--min-lr", "0", "--color-jitter", "0", "--crop-pct", "1"),
        *("--device", "cpu", "--channels-last", "--no-prefetcher", "--smoothing", "0"),
        *("--interpolation", "bicubic", "--train-interpolation", "bicubic"),
    ]


def _summary(out: Path) -> dict[str, Any]:
    lines = next(out.rglob("summary.csv")).read_text().splitlines()
    last = dict(zip(lines[0].split(","), lines[-1].split(","), strict=True))
    return {"top1": float(last["eval_top1"])}


def ours(setting: Setting, root: Path, seeds: int, arms: int) -> dict[str, Any]:
    """Return the same of one command."""
    settings = {
        "data.resolution": setting.size,
        "data.stored_size": setting.size,
        "data.crop": "random_resized",
        "data.crop_area": 0.08,
        "data.flip": "true",
        "data.interpolation": "bicubic",
        "data.batch_size": 64,
        "data.minival_fraction": 0,
        "optim.epochs": setting.epochs,
        "optim.lr": 0.4,
        "optim.nesterov": "true",
        "optim.momentum": 0.9,
        "optim.weight_decay": 2e-5,
        "optim.decay_scope": "kernels",  # timm leaves out biases and norms
        "model.bn_momentum": 0.1,  # torch's, so that the average takes what timm's takes
        "optim.schedule": "cosine",
        "optim.warmup_epochs": 0,
        "evaluate.crop_fraction": 1.0,
        "evaluate.interpolation": "bicubic",
    }
    with tempfile.TemporaryDirectory() as home:
        command = [str(Path(sys.executable).parent / "ablate"), "--base", "resnet10t"]
        command += ["--add", ",".join(OURS[: arms - 1]), "--seeds", str(seeds), "--yes"]
        command += ["--data", f"imagefolder:{root}", "--home", home, "--track", "none"]
        command += ["--format", "json"]
        for path, value in settings.items():
            command += ["--set", f"{path}={value}"]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
        seconds = time.perf_counter() - began
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
        said = json.loads(done.stdout)
        results = [json.loads(p.read_text()) for p in Path(home).glob("runs/*/result.json")]
    top1: dict[str, list[float]] = {}
    if len(said["runs"]) != arms * seeds or len(results) != arms * seeds:
        sys.exit(f"{len(results)} results of {len(said['runs'])} runs, not {arms * seeds}")
    # An arm is named by all its components, as they were written: its step says which came last.
    last = {step["treatment"]: step["component"] for step in said["contrasts"]}
    for run in sorted(said["runs"], key=lambda run: run["seed"]):
        top1.setdefault(last.get(run["arm"], "base"), []).append(run["value"])
    trained = {one["training"] or str(number) for number, one in enumerate(results)}
    return {
        "seconds": seconds,
        "top1": top1,
        "memory": max(one["peak_memory_bytes"] for one in results),
        "runs": len(results),
        "trainings": len(trained),
        "train_seconds": sum({one["train_seconds"] for one in results}),
    }


def report(args: argparse.Namespace, seeds: int, rows: list[dict[str, Any]]) -> None:
    """Print medians and ranges, and write what was measured."""
    ratios = [row["peer"]["seconds"] / row["ours"]["seconds"] for row in rows]
    memory = {side: max(row[side]["memory"] for row in rows) for side in ("peer", "ours")}
    middle = {}
    for side in ("peer", "ours"):
        seconds = [row[side]["seconds"] for row in rows]
        middle[side] = statistics.median(seconds)
        print(
            f"{side}: {middle[side]:.1f} s [{min(seconds):.1f}, {max(seconds):.1f}],"
            f" at most {memory[side] / 2**20:.0f} MiB a process"
        )
    print(
        f"ratio: {statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}],"
        f" n {len(ratios)}; {rows[0]['ours']['runs']} runs from {rows[0]['ours']['trainings']}"
        f" trainings; memory, ours / peer: {memory['ours'] / memory['peer']:.2f}"
    )
    sides = [
        np.array([[row[side]["top1"][arm] for arm in ARMS[: args.arms]] for row in rows])
        for side in ("peer", "ours")
    ]  # rounds, arms, seeds: a seed's rounds are repetitions, not further seeds
    found = agreement(*(side.mean(axis=0) for side in sides))
    show(found, ARMS[: args.arms], seeds)
    if args.json:
        about = {
            "schema_version": 1,
            "setting": args.setting,
            "seeds": seeds,
            "arms": list(ARMS[: args.arms]),
            "peer_script": args.peer_script,
            "hardware": {"processor": _processor(), "cores": os.cpu_count()},
            "versions": {n: version(n) for n in ("torch", "timm", "pytorch-lightning", "numpy")},
            "python": platform.python_version(),
            "rounds": rows,
            "ratios": ratios,
            "summary": {
                "seconds": middle,
                "ratio": statistics.median(ratios),
                "ratio_range": [min(ratios), max(ratios)],
                "memory_ratio": memory["ours"] / memory["peer"],
                "accuracy": asdict(found),
            },
        }
        args.json.write_text(json.dumps(about, indent=1))


def show(found: Agreement, arms: Sequence[str], seeds: int) -> None:
    """Print the accuracies side by side and whether they agree."""
    print(f"accuracy, mean of {seeds} seeds: arm, peer, ours, ours - peer")
    for arm, *values in zip(arms, found.peer, found.ours, found.gaps, strict=True):
        print(f"  {arm:5} {values[0]:6.2f} {values[1]:6.2f} {values[2]:+6.2f}")
    if found.interval is None or found.limit is None:
        print(f"  all: {found.gap:+.2f}; one seed says nothing of noise")
        return
    low, high = found.interval
    print(
        f"  all: {found.gap:+.2f} [{low:.2f}, {high:.2f}] at 95 %; a single arm's limit is"
        f" {found.limit:.2f}: {'within noise' if found.agrees else 'NOT within noise'}"
    )


def made(setting: str, images: tuple[int, int], root: Path) -> Path:
    """Write the images of a setting as class folders and return their folder."""
    draw = np.random.default_rng(0)
    if setting == "digits":
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        order = draw.permutation(len(labels))
        for place, number in enumerate(order[: sum(images)]):
            part = "train" if place < images[0] else "validation"
            grey = (pixels[number].reshape(8, 8) * 255 / 16).astype(np.uint8)
            image = Image.fromarray(grey).convert("RGB").resize((32, 32), Image.Resampling.BICUBIC)
            _save(image, root / part / str(labels[number]) / f"{number}.png")
        return root
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(one) for one in load_sample_images().images]
    for part, count in zip(("train", "validation"), images, strict=True):
        for number in range(count):
            label = number % 10  # five vertical strips of each photograph
            photograph = photographs[label // 5]
            left = label % 5 * photograph.width // 5
            top = int(draw.integers(0, photograph.height - 120))
            left += int(draw.integers(0, photograph.width // 5 - 120 + 1))
            image = photograph.crop((left, top, left + 120, top + 120))
            image = image.resize((64, 64), Image.Resampling.BICUBIC)
            _save(image, root / part / str(label) / f"{number}.jpg")
    return root


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=90)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
