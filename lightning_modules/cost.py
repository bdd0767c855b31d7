"""What a network costs: parameters and multiply-adds, counted on the meta device."""

from __future__ import annotations

import functools
import gc
import resource
import sys
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from lightning_modules.backbones import build
from recipes import Model


@functools.lru_cache(maxsize=256)
def count(model: Model, classes: int, resolution: int) -> tuple[int, int]:
    """Return trainable parameters and multiply-adds (MACs) of one image; FLOPs are twice these."""
    with torch.device("meta"):
        network = build(model, classes=classes).eval()
        image = torch.empty(1, 3, resolution, resolution)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(image)
    params = sum(parameter.numel() for parameter in network.parameters())
    return params, counter.get_total_flops() // 2


def reset_peak_memory(device: torch.device) -> None:
    """Begin measuring anew, without what an earlier run in this process left to be collected."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.init()  # the reset does not initialise by itself
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        try:
            clear.write_text("5")  # Linux: VmHWM starts again at what is resident now
        except OSError:
            return  # not permitted in some containers: the process's own peak is reported


def peak_memory(device: torch.device) -> int | None:
    """Return the peak since the reset: of the device, or of this process on a CPU (Linux)."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
