"""The same as the command line, from Python."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablations.answers import Study
from ablations.ledger import Ledger
from ablations.publishing.attendant import attended
from ablations.request import Request
from ablations.revisions import check_same
from ablations.runner import carry_out, check_options
from ablations.study import Options, Prepared, plan_study


def plan(
    base: str,
    add: str,
    *,
    design: str = "",
    seeds: int = 3,
    data: str | None = None,
    settings: Sequence[str] = (),
    skip_corrupt: bool = False,
    home: str | Path = "ablate-home",
    study: str | None = None,
    recipe_of: str | None = None,
    device: str = "auto",
    devices: int = 1,
    **more: Any,
) -> Prepared:
    """Return what `run` with the same arguments would do; trains nothing.

    `design` is one of `ablate list designs`; empty: the ladder, or auto where `more` has a question
    or a budget. `more` are the other fields of a `Request`, as `question="alone"` or
    `until="verdicts"`.

    Raises:
        RecipeError, DataError, RequestError: what is wrong with the request.
    """
    request = Request(
        base=base,
        add=add,
        design=design,
        seeds=seeds,
        data=data,
        settings=tuple(settings),
        skip_corrupt=skip_corrupt,
        recipe_of=recipe_of,
        **more,
    )
    return plan_study(request, Path(home), study, device, devices=devices)


def run(
    base: str,
    add: str,
    *,
    design: str = "",
    seeds: int = 3,
    data: str | None = None,
    settings: Sequence[str] = (),
    skip_corrupt: bool = False,
    home: str | Path = "ablate-home",
    study: str | None = None,
    recipe_of: str | None = None,
    options: Options | None = None,
    **more: Any,
) -> Study:
    """Train what the home lacks for a request and return the study.

    Workers are processes: in a script, call this below `if __name__ == "__main__":`.

    Raises:
        RecipeError, DataError, RequestError: what is wrong with the request.
    """
    chosen = options or Options()
    check_options(chosen.launch, chosen.devices, chosen.slots, chosen.device)
    _ = chosen.targets  # refused before anything is planned
    prepared = plan(
        base,
        add,
        design=design,
        seeds=seeds,
        data=data,
        settings=settings,
        skip_corrupt=skip_corrupt,
        home=home,
        study=study,
        recipe_of=recipe_of,
        device=chosen.device,
        devices=chosen.devices,
        **more,
    )
    ledger = Ledger(Path(home))
    ledger.check_writable()
    prepared = check_same(prepared, ledger)

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    with attended(prepared.plan.study, ledger, chosen.targets, say) as attendant:
        carry_out(
            prepared,
            ledger,
            chosen,
            say=say,
            agree=lambda _: True,
            begun=attendant.begin,
        )
    return Study(prepared.plan, ledger)
