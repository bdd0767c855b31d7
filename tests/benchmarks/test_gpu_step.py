"""The bytes of a step, by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from torch import nn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
try:
    spec = importlib.util.spec_from_file_location("gpu_step", HERE / "gpu_step.py")
    assert spec is not None
    assert spec.loader is not None
    gpu_step = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gpu_step)
finally:
    sys.path.remove(str(HERE))


def test_traffic_counts_every_layer_once_and_every_parameter():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.ReLU(), nn.Flatten())
    network.append(nn.Linear(8 * 16, 10))
    images, maps, logits = 2 * 3 * 16, 2 * 8 * 16, 2 * 10
    layers = [(images, maps), (maps, maps), (maps, maps), (maps, logits)]
    values = sum(3 * read + 2 * written for read, written in layers)
    parameters = 8 * 3 * 9 + 8 * 16 * 10 + 10
    assert gpu_step.traffic(network, (2, 3, 4, 4), 2) == 2 * values + 28 * parameters
