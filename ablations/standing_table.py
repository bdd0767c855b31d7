"""How far a study is, in words, from the object of `ablations.standing` alone.

Not in `report`, which loads NumPy: a look at a study should not wait for what it does not need.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from ablations.progress import duration

_SHOWN = 20  # running runs; a cluster has hundreds


def standing_table(standing: Mapping[str, Any]) -> str:
    """Return a study's counts, what is running, and one line per arm with its accuracies."""
    words = ", ".join(f"{count} {status}" for status, count in standing["counts"].items())
    left = standing["left"]
    hint = ""
    if left["worker_seconds"] is not None:
        hint = f"; about {duration(left['worker_seconds'])} of one worker left"
    lines = [
        f"{standing['study']} (revision {standing['revision']}): {standing['base']} +"
        f" {standing['add']} on {standing['data']}, {standing['runs']} runs: {words}{hint}"
    ]
    lines += [f"  {words}" for words in standing["decided"]]
    arms = standing["arms"]
    width = max(len(arm["name"]) for arm in arms)
    lines += _running(standing, width)
    for arm in arms:
        numbers = " ".join(f"{value:.2f}" for value in arm["values"].values())
        bad = "; ".join(
            f"seed {one['seed']} {one['status']}: {one['message']}" for one in arm["not_finished"]
        )
        lines.append(f"  {arm['name']:<{width}}  {numbers}{'  ' if bad else ''}{bad}".rstrip())
    return "\n".join(lines)


def _running(standing: Mapping[str, Any], width: int) -> Iterator[str]:
    left, running = standing["left"], standing["running"]
    if not running:
        if left["runs"]:
            yield f"  nothing is running; {left['runs']} left, which the same command goes on with"
        return
    workers = f"{left['workers']} worker{'s' if left['workers'] > 1 else ''}"
    ends = ""
    if left["seconds"] is not None:
        what = "all ends" if standing["concluded"] else "this stage ends"
        moment = datetime.fromisoformat(left["ends"])
        ends = f"; {what} in about {duration(left['seconds'])}, on {moment:%a %d %b at %H:%M}"
    yield f"  running on {workers}{ends}:"
    for one in running[:_SHOWN]:
        yield f"    {one['arm']:<{width}}  seed {one['seed']}  {_how_far(one)}"
    if len(running) > _SHOWN:
        yield f"    and {len(running) - _SHOWN} more (--format json has them all)"


def _how_far(one: Mapping[str, Any]) -> str:
    parts = []
    if one["steps"]:
        parts.append(f"epoch {one['epoch']} of {one['epochs']}, {one['step'] / one['steps']:.0%}")
    if one["seconds"] is not None:
        since = datetime.fromisoformat(one["started"])
        parts.append(f"since {since:%a %H:%M} ({duration(one['seconds'])})")
    if one["host"] is not None:
        parts.append(f"on {one['host']}, process {one['pid']}")
    if one["seconds_left"] is not None:
        parts.append(f"about {duration(one['seconds_left'])} left")
    return ", ".join(parts)
