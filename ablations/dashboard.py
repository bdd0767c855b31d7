"""`ablate dashboard STUDY`: a workspace and a report of a study in W&B."""

from __future__ import annotations

import argparse

from ablations.errors import RequestError


def dashboard(arguments: argparse.Namespace) -> int:
    """Make or update the workspace and the report of `arguments.study` in W&B.

    Raises:
        RequestError: it is not there yet.
    """
    raise RequestError(
        f"a dashboard of study {arguments.study} cannot be made yet; `ablate dashboard sync"
        f" {arguments.study}` uploads its runs"
    )
