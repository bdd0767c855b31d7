"""Studies whose runs all finished, with effects that add and a little noise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablations.designs import lay_out
from ablations.ledger import Ledger
from ablations.plans import Outcome, Plan, Run
from ablations.report import document
from ablations.report.analysis import analysis_of
from ablations.report.effects import effects
from ablations.report.story import Story, gather
from recipes import Data, Evaluate, Fact, Facts, Model, Optim, Recipe, parse

EFFECTS = {"ls": 1.5, "sd": 1.0, "ra": 0.0, "se": 2.0, "resnetd": -1.5, "ema": 0.5}


def base_recipe(**facts: str) -> Recipe:
    leaves = tuple(
        Fact(path=f"model.{name}", status=status, reason=f"the backbone's {name}: {status}")
        for name, status in facts.items()
    )
    found = Facts(family="ResNet", input_size=224, stages=4, batch_norm=True, leaves=leaves)
    return Recipe(
        model=Model(backbone="resnet18", facts=found),
        data=Data(dataset="digits", resolution=16, interpolation="bicubic", batch_size=32),
        optim=Optim(epochs=10, optimizer="sgd", lr=0.1),
        evaluate=Evaluate(split="validation", interpolation="bicubic"),
    )


def study(
    spec: str = "ls,sd,se,resnetd",
    design: str = "ladder",
    seeds: int = 4,
    interactions: tuple[str, ...] = (),
    **facts: str,
) -> tuple[Plan, list[Outcome]]:
    """Return a plan whose runs all finished, with effects that add and a little noise."""
    generator = np.random.default_rng(1)
    layout = lay_out(design, base_recipe(**facts), parse(spec), interactions=interactions)
    runs = tuple(
        Run(id=f"{place}-{seed}", arm=arm.name, seed=seed)
        for place, arm in enumerate(layout.arms)
        for seed in range(seeds)
    )
    plan = Plan(
        study="demo",
        base="tiny",
        layout=layout,
        seeds=tuple(range(seeds)),
        runs=runs,
        data="digits",
        data_fingerprint="0" * 20,
    )
    outcomes = []
    for run in runs:
        keys = [component.key for component in layout.arm(run.arm).components]
        value = 85 + sum(EFFECTS[key] for key in keys) + 0.3 * run.seed + generator.normal(0, 0.1)
        outcomes.append(
            Outcome(
                run=run,
                status="finished",
                value=float(value),
                seconds=10.0 + run.seed,
                cost={"params": 1000 + 100 * len(keys), "macs": 5e6, "peak_memory_bytes": None},
            )
        )
    return plan, outcomes


def changed(outcomes: list[Outcome], arm: str, seeds: set[int], **changes: Any) -> list[Outcome]:
    return [
        replace(one, **changes) if one.run.arm == arm and one.run.seed in seeds else one
        for one in outcomes
    ]


def contrast(found: dict[str, Any], label: str) -> dict[str, Any]:
    return next(one for one in found["contrasts"] if one["label"] == label)


def has_note(found: dict[str, Any], *words: str) -> bool:
    return any(all(word in note for word in words) for note in found["notes"])


class Evaluated:
    """Images of a study's runs: the first are right, as many as its value says; the rest as drawn.

    Values are moved to whole numbers of images: take `outcomes`.
    """

    def __init__(self, outcomes: list[Outcome], count: int = 1000) -> None:
        generator = np.random.default_rng(2)
        self.outcomes: list[Outcome] = []
        self._rows: dict[tuple[str, int], NDArray[np.floating]] = {}
        hard = np.sort(generator.random(count))  # the same images are hard for all
        for one in outcomes:
            if one.value is None:
                self.outcomes.append(one)
                continue
            order = np.argsort(hard + generator.normal(0, 0.2, count))
            row = np.zeros(count)
            row[order[: round(one.value * count / 100)]] = 1.0
            self._rows[one.run.arm, one.run.seed] = row
            value = 100 * float(row.mean())
            self.outcomes.append(replace(one, value=value, evaluated_images=count))

    def of(self, arm: str, seed: int) -> NDArray[np.floating] | None:
        return self._rows.get((arm, seed))


def story(plan: Plan, outcomes: list[Outcome], ledger: Ledger | None = None) -> Story:
    """Return what a page shows of a study's outcomes."""
    answer = analysis_of(plan, outcomes)
    return gather(
        plan,
        outcomes,
        document(plan, outcomes, answer=answer),
        effects(plan.layout, answer),
        {arm: (mean.value, mean.interval) for arm, mean in answer.analysis.means.items()},
        ledger,
    )


HOSTILE = (
    "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>"
    " $a_{b$ & 'q' \"d\""
)


def hostile() -> tuple[Plan, list[Outcome]]:
    """Return a study whose names and errors are markup, script and signs of mathematics."""
    plan, outcomes = study("ls,se")
    contrasts = tuple(replace(one, label=f"{one.label}{HOSTILE}") for one in plan.layout.contrasts)
    layout = replace(plan.layout, contrasts=contrasts, notes=(HOSTILE,))
    renamed = replace(plan, study=f"study{HOSTILE}", base=HOSTILE, layout=layout)
    failing = replace(outcomes[-1], status="failed", value=None, error=f"ValueError: {HOSTILE}")
    return renamed, [*outcomes[:-1], failing]
