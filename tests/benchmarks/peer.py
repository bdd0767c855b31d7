"""One run as a user of timm makes it: a process of its own, timm's loader, model and optimiser.

A stand-in for the training script of timm, which its package does not ship, written from timm's
public functions with the script's ways: PIL transforms in two loader workers, channels last, an
average updated every step, the loss read every 50 steps, a summary and a checkpoint at the end of
an epoch. It evaluates once, at the end, the weights that count, as ours does; the script does so
every epoch, raw weights beside averaged ones. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import time
from pathlib import Path

import torch
from timm.data import create_dataset, create_loader
from timm.loss import LabelSmoothingCrossEntropy
from timm.models import create_model
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter, ModelEmaV3, accuracy, random_seed


def main() -> None:
    """Train, evaluate, print."""
    args = _arguments()
    began = time.perf_counter()
    random_seed(args.seed, 0)
    sets = [
        create_dataset("folder", root=args.data, split=split, is_training=split == "train")
        for split in ("train", "validation")
    ]
    classes = len(sets[0].reader.class_to_idx)
    model = create_model(
        args.model, num_classes=classes, drop_rate=args.drop, drop_path_rate=args.drop_path
    ).to(memory_format=torch.channels_last)
    common = {
        "input_size": (3, args.size, args.size),
        "interpolation": "bicubic",
        "num_workers": args.workers,
        "use_prefetcher": False,
        "device": torch.device("cpu"),
    }
    train = create_loader(
        sets[0],
        batch_size=args.batch,
        is_training=True,
        auto_augment=args.aa or None,
        color_jitter=None,
        persistent_workers=args.workers > 0,
        **common,
    )
    held = create_loader(sets[1], batch_size=256, is_training=False, crop_pct=1.0, **common)
    optimizer = create_optimizer_v2(
        model, opt="sgd", lr=args.lr, weight_decay=args.weight_decay, momentum=0.9
    )
    scheduler, epochs = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=args.epochs,
        warmup_epochs=0,
        cooldown_epochs=0,
        min_lr=0.0,
        step_on_epochs=False,
        updates_per_epoch=len(train),
    )
    loss_of = LabelSmoothingCrossEntropy(args.smoothing) if args.smoothing else None
    loss_of = loss_of or torch.nn.CrossEntropyLoss()
    average = ModelEmaV3(model, decay=args.ema, use_warmup=True) if args.ema else None
    updates, training = 0, 0.0
    for epoch in range(args.epochs):
        model.train()
        meter, start = AverageMeter(), time.perf_counter()
        for step, (images, targets) in enumerate(train):
            images = images.contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad()
            loss = loss_of(model(images), targets)
            loss.backward()
            optimizer.step()
            updates += 1
            if average is not None:
                average.update(model, step=updates)
            if step % 50 == 0:
                meter.update(loss.item(), len(images))
            scheduler.step_update(num_updates=updates)
        training += time.perf_counter() - start
        with (Path(args.out) / "summary.csv").open("a", newline="") as file:
            csv.writer(file).writerow([epoch, meter.avg, optimizer.param_groups[0]["lr"]])
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state, Path(args.out) / "last.pth.tar")
    top1 = _evaluated(model if average is None else average.module, held)
    del train, held  # ends the loader's workers, which are counted only then
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(
        json.dumps(
            {
                "top1": top1,
                "seconds": time.perf_counter() - began,
                "train_seconds": training,
                "peak_memory_bytes": usage,
                "peak_memory_bytes_of_a_loader_worker": children,
            }
        )
    )


@torch.no_grad()
def _evaluated(model: torch.nn.Module, loader: object) -> float:
    model.eval()
    meter = AverageMeter()
    for images, targets in loader:  # type: ignore[attr-defined]
        images = images.contiguous(memory_format=torch.channels_last)
        meter.update(accuracy(model(images), targets)[0].item(), len(images))
    return meter.avg


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--model", default="resnet10t")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--weight-decay", type=float, default=2e-5)
    parser.add_argument("--aa", default="")
    parser.add_argument("--smoothing", type=float, default=0.0)
    parser.add_argument("--drop", type=float, default=0.0)
    parser.add_argument("--drop-path", type=float, default=0.0)
    parser.add_argument("--ema", type=float, default=0.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
