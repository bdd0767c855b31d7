"""Jobs given to SLURM through submitit, as an array. The only file that imports it.

submitit writes the batch script and calls sbatch. The pickles that it writes for its own entry are
removed unread: the script starts `slurm_node` in its place.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator, Mapping

from ablations.launch.slurm_node import STOP_SIGNAL
from ablations.launch.slurm_options import Slurm
from ablations.launch.submissions import Submission

_STOP_AHEAD = 120  # seconds before the end of a job; SLURM may be a minute early
# What a person's environment would put over the words of a batch script.
_OVER = {
    "partition": "SBATCH_PARTITION",
    "account": "SBATCH_ACCOUNT",
    "qos": "SBATCH_QOS",
    "time": "SBATCH_TIMELIMIT",
    "gpus-per-node": "SBATCH_GPUS_PER_NODE",
    "mem": "SBATCH_MEM_PER_NODE",
}
_ALWAYS_OVER = ("JOB_NAME", "ARRAY_INX", "REQUEUE", "NO_REQUEUE", "SIGNAL", "OPEN_MODE", "OVERLAP")


class Refused(Exception):
    """SLURM did not take a submission."""


def flags_of(slurm: Slurm, cpus: int) -> dict[str, str]:
    """Return what is asked of SLURM in its own words, as the checks of `slurm_options` let it."""
    wanted = {
        "partition": slurm.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "time": slurm.minutes,
        "cpus-per-task": cpus,
        "gpus-per-node": slurm.gpus,
        "mem": slurm.mem,
    }
    return {name: str(value) for name, value in wanted.items() if value is not None}


def submit(made: Submission, slurm: Slurm, cpus: int, at_once: int) -> int:
    """Submit an array through submitit and return its number.

    Raises:
        Refused: SLURM did not take it, or its answer was lost.
    """
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    flags = flags_of(slurm, cpus)
    minutes = slurm.minutes
    ahead = _STOP_AHEAD if minutes is None else min(_STOP_AHEAD, minutes * 20)
    # What submitit puts in place of its own `python`: its words follow, and are not read there.
    entry = [sys.executable, "-u", "-P", "-m", "ablations.launch.slurm_node"]
    executor = submitit.SlurmExecutor(folder=made.folder, python=shlex.join(entry))
    executor.update_parameters(
        job_name=made.name,
        time=None,  # of `additional_parameters`, or the partition's own; submitit's is 5 minutes
        wckey=None,
        nodes=1,
        ntasks_per_node=1,
        array_parallelism=at_once,
        stderr_to_stdout=True,
        # `srun` does not take over the CPUs of its job since SLURM 22.05.
        srun_args=[f"--cpus-per-task={cpus}"],
        additional_parameters={**flags, "requeue": True, "signal": f"{STOP_SIGNAL}@{ahead}"},
    )
    try:
        with _without(flags):
            jobs = executor.map_array(int, range(len(made.runs)))
    except (FailedJobError, FailedSubmissionError) as error:
        raise Refused(" ".join(str(error).split())) from None
    for pickle in made.folder.glob("*.pkl"):  # of submitit; nobody is to read them
        pickle.unlink()
    return int(jobs[0].job_id.partition("_")[0])


@contextlib.contextmanager
def _without(flags: Mapping[str, str]) -> Iterator[None]:
    """Take away what sbatch would put over the script's words, or hand down from a job around."""
    names = {f"SBATCH_{name}" for name in _ALWAYS_OVER} | {
        _OVER[one] for one in flags if one in _OVER
    }
    if "SLURM_JOB_ID" in os.environ:
        inside = ("SLURM_", "SLURMD_", "SRUN_")
        names |= {one for one in os.environ if one.startswith(inside) and one != "SLURM_CONF"}
    taken = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(taken)
