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
from lightning_modules.footprint import Footprint
from recipes import Model

# What torch says in a plain RuntimeError: its CPU's allocator, Apple's, and CUDA's libraries.
_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "backend out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
_CONTEXT = 600 << 20  # bytes that CUDA's context and libraries take of a GPU, an allowance


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


def footprint(device: torch.device, before: int) -> Footprint:
    """Return what was needed since `reset_peak_memory`.

    Args:
        device: that was computed on.
        before: resident bytes of this process before its first work: what an earlier one has left
            with the allocator is used again, so it counts.
    """
    host = max((peak_memory(torch.device("cpu")) or 0) - before, 0)
    if device.type != "cuda":
        return Footprint(host=host)
    free, total = torch.cuda.mem_get_info(device)
    held = torch.cuda.memory_reserved(device)
    needed = torch.cuda.max_memory_reserved(device) + _CONTEXT
    return Footprint(host=host, device=needed, device_free=min(free + held + _CONTEXT, total))


def resident_memory() -> int:
    """Return the bytes of this process that are in memory now, shared ones included; Linux."""
    found = _status("VmRSS:")
    return found if found is not None else 0


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


def release_memory() -> None:
    """Give back what nothing refers to any more, also what a GPU's allocator keeps."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def peak_memory(device: torch.device) -> int | None:
    """Return the peak since the reset: of the device, or of this process on a CPU (Linux)."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    found = _status("VmHWM:")
    if found is not None:
        return found
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is want of memory, of a device or of this machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = str(error)
    return isinstance(error, RuntimeError) and any(part in words for part in _NO_MEMORY)


def _status(name: str) -> int | None:
    """Return a figure of this process's memory in bytes; None where there is no /proc."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)
