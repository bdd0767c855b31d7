"""A whole ablation against a shell loop: `python tests/benchmarks/ablation.py digits|jpegs`.

The loop starts a process per arm and seed that trains with timm's public API (`peer.py`, or a real
training script of timm with `--peer-script`); ours is one `ablate` command in a fresh home, its
start, certificates and report counted. Both train resnet10t by SGD with a cosine on the same image
files, batch and epochs, in the same six arms: the base, then RandAugment (timm's, 2 of magnitude
10), label smoothing 0.1, stochastic depth 0.1, an average of decay 0.99 with warm-up, dropout 0.25,
each on top of those before it. Rounds are paired, and who goes first alternates.

`digits`: scikit-learn's digits as 32-pixel PNG files, 1437 to train on and 360 to evaluate, 1
epoch, 3 seeds. `jpegs`: 2,000 + 500 JPEG files of 64 pixels, 2 epochs, 2 seeds, cut from
scikit-learn's two photographs (ten classes of regions), or taken from `--data DIR`.
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
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
ARMS = ("base", "ra", "ls", "sd", "ema", "do")
OURS = (
    'ra(magnitude=10,space="timm")',
    "ls(epsilon=0.1)",
    'sd(rate=0.1,rule="linear")',
    "ema(decay=0.99)",
    "do(rate=0.25)",
)
PEERS = {  # by arm: flags of our stand-in, and of timm's script
    "ra": (["--aa", "rand-m10-n2"], ["--aa", "rand-m10-n2"]),
    "ls": (["--smoothing", "0.1"], ["--smoothing", "0.1"]),
    "sd": (["--drop-path", "0.1"], ["--drop-path", "0.1"]),
    "ema": (["--ema", "0.99"], ["--model-ema", "--model-ema-decay", "0.99", "--model-ema-warmup"]),
    "do": (["--drop", "0.25"], ["--drop", "0.25"]),
}


@dataclass(frozen=True)
class Setting:
    """What both sides train."""

    size: int
    epochs: int
    seeds: int


SETTINGS = {"digits": Setting(32, 1, 3), "jpegs": Setting(64, 2, 2)}


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
    args = parser.parse_args()
    setting = SETTINGS[args.setting]
    seeds = args.seeds or setting.seeds
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        root = args.data or made(args.setting, Path(folder) / "images")
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
    top1: dict[str, list[float | None]] = {arm: [] for arm in ARMS[:arms]}
    memory: list[int] = []
    began = time.perf_counter()
    for seed in range(seeds):
        flags: list[str] = []
        for arm in ARMS[:arms]:
            flags += PEERS.get(arm, ([], []))[script is not None]
            with tempfile.TemporaryDirectory() as out:
                command = [sys.executable, script or str(HERE / "peer.py"), *flags]
                command += _common(setting, root, out, seed, script is not None)
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
                said = _summary(Path(out)) if script else json.loads(done.stdout.splitlines()[-1])
            top1[arm].append(said["top1"])
            memory.append(said.get("peak_memory_bytes", 0))
    return {"seconds": time.perf_counter() - began, "top1": top1, "memory": max(memory)}


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
    names = dict(zip(dict.fromkeys(run["arm"] for run in said["runs"]), ARMS, strict=False))
    top1: dict[str, list[float | None]] = {}
    for run in said["runs"]:
        top1.setdefault(names[run["arm"]], []).append(run["value"])
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
    for name in ("peer", "ours"):
        seconds = [row[name]["seconds"] for row in rows]
        print(
            f"{name}: {statistics.median(seconds):.1f} s [{min(seconds):.1f}, {max(seconds):.1f}],"
            f" at most {max(row[name]['memory'] for row in rows) / 2**20:.0f} MiB a process"
        )
    print(
        f"ratio: {statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}],"
        f" n {len(ratios)}; {rows[0]['ours']['runs']} runs from {rows[0]['ours']['trainings']}"
        " trainings"
    )
    print("accuracy, mean over the seeds of all rounds (sd): arm, peer, ours")
    gaps = []
    for arm in ARMS[: args.arms]:
        each = [[v for row in rows for v in row[name]["top1"][arm]] for name in ("peer", "ours")]
        words = [f"{np.mean(one):.2f} ({np.std(one, ddof=1):.2f})" for one in each]
        gaps.append(float(np.mean(each[1]) - np.mean(each[0])))
        print(f"  {arm:5} {'  '.join(words)}")
    error = statistics.stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else float("nan")
    print(f"  ours - peer over the arms: {statistics.mean(gaps):+.2f} +- {2 * error:.2f} (2 se)")
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
        }
        args.json.write_text(json.dumps(about, indent=1))


def made(setting: str, root: Path) -> Path:
    """Write the images of a setting as class folders and return their folder."""
    draw = np.random.default_rng(0)
    if setting == "digits":
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        order = draw.permutation(len(labels))
        for place, number in enumerate(order):
            part = "train" if place < 1437 else "validation"
            grey = (pixels[number].reshape(8, 8) * 255 / 16).astype(np.uint8)
            image = Image.fromarray(grey).convert("RGB").resize((32, 32), Image.Resampling.BICUBIC)
            _save(image, root / part / str(labels[number]) / f"{number}.png")
        return root
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(one) for one in load_sample_images().images]
    for part, count in (("train", 2000), ("validation", 500)):
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
