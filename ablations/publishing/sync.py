"""`ablate dashboard sync STUDY`: bring to W&B's server what it lacks of a study.

Every run is published from the ledger, and goes on where the server has it: so an upload that was
cut off is gone on with, and no row comes twice. (`wandb sync` of an offline folder begins anew.)
"""

from __future__ import annotations

import argparse
import contextlib

from ablations.asked import home_of, wandb_of
from ablations.errors import RequestError
from ablations.frozen import thaw
from ablations.leases import held
from ablations.ledger import Ledger
from ablations.output import say, show_result
from ablations.publishing.journal import ONLINE
from ablations.publishing.targets import counted, folder_of, targets_of


def sync(arguments: argparse.Namespace) -> int:
    """Upload the ended runs of `arguments.study` that W&B's server lacks; 1 if some are left.

    Raises:
        RequestError: there is no such study, nobody is logged in, or W&B is switched off.
    """
    from ablations.publishing.publisher import Publisher
    from lightning_modules.tracking import is_logged_in, leave_wandb, wandb_asked

    ledger, study = Ledger(home_of(arguments)), arguments.study
    thaw(ledger.study_folder(study))  # there, or told
    mode, why = wandb_asked()
    if mode:
        raise RequestError(f"{why} lets nothing be uploaded: unset it")
    project, entity = wandb_of(arguments)
    targets = targets_of("wandb", project, entity)

    def told() -> None:
        say(f"waiting for the command that publishes study {study} now ...")

    folder = folder_of(ledger, study)
    with held(folder, told, every=5.0):
        publisher = Publisher(ledger, study, targets, online=True, uploads=True)
        try:
            lacking = publisher.left()
            if lacking and not is_logged_in():
                raise RequestError(
                    f"{counted(lacking)} of study {study} to be uploaded, but W&B has no key: run"
                    " `wandb login`, or set WANDB_API_KEY"
                )
            if lacking:
                path = folder / "log.txt"  # what goes wrong in the client, in full
                path.unlink(missing_ok=True)  # never written through, were it a link
                with path.open("x", encoding="utf-8") as log, contextlib.redirect_stdout(log):
                    publisher.look()
        finally:
            publisher.close()
        left = publisher.left()
    leave_wandb()
    place = f"{entity}/{project}" if entity else str(targets[0].place and targets[0].place.project)
    made = publisher.made["wandb", ONLINE]
    if not lacking:
        show_result(f"study {study}: W&B has all ended runs, in {place}; uploaded nothing")
    elif made or not left:
        show_result(f"study {study}: uploaded {counted(made)} to W&B, into {place}")
    if left:
        say(
            f"left: {counted(left)}: {publisher.trouble.get('wandb', '')}; the same command goes on"
        )
    return int(left > 0)
