"""Runs as jobs of SLURM, submitted as arrays through submitit (`slurm_submit`).

What becomes of a run is read in the ledger, and what becomes of its job is asked of SLURM; nobody
waits for submitit's results, which without a database daemon never come, and which another job of
the same number may have left. Jobs go back into the queue by themselves (`slurm_node`). One that
left it without a word is submitted again; this process may die and come back, and finds its jobs by
their names (`submissions`).

Longer than most: all that can become of a job is read in one place.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ablations.errors import RequestError
from ablations.launch import slurm_queue as queue
from ablations.launch import submissions
from ablations.launch.job import Ended, Job, ends_of, left_by, newest_step
from ablations.launch.noted import noted
from ablations.launch.pool import Event, ended_events
from ablations.launch.slurm_jobs import Follow, Placed
from ablations.launch.slurm_options import Slurm, check_home
from ablations.launch.slurm_submit import Refused, flags_of, submit
from ablations.launch.submissions import Submission
from ablations.leases import Claim
from ablations.ledger import Ledger

_LOOK_SECONDS = (2.0, 10.0)  # between two looks at the queue: at first, and after a minute
_SILENT_SECONDS = 1800.0  # without an answer of SLURM, until it is given up
# After a job has left the queue, until what it wrote is seen here: a shared file system may show
# old names for so long (acdirmax of NFS). To submit again too early costs a start and no more.
_SETTLED_SECONDS, _CERTAIN_SECONDS = 15.0, 60.0
_ATTEMPTS = 2  # of a job that leaves the queue without a word
_RETURNS = 100  # of one that was told to stop, or whose node was taken
_TAKEN = frozenset({"PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "TIMEOUT"})
_THERE = queue.PENDING | queue.UNDERWAY - {"COMPLETING"}  # the end of a cancelled one, perhaps
_ARRAY_JOBS = 1000  # of an array at most, and waiting in the queue
_USUAL = ("None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime", "Cleaning")
_FULL = ("MaxSubmit", "MaxJob", "job submit limit")  # refusals that pass as jobs end
_LATER = ("temporarily", "contact", "timed out", "Unable to")  # and by themselves
_PAUSE_SECONDS = 60.0  # after a refusal


@dataclass
class SlurmCluster:
    """A launcher of SLURM jobs, one for each training."""

    slurm: Slurm
    home: Path
    threads: int  # of a run where no CPUs are asked for
    say: Callable[[str], None]
    _follow: dict[Path, Follow] = field(default_factory=dict)
    _placed: list[Placed] = field(default_factory=list)
    _told: set[str] = field(default_factory=set)
    _submitting: Submission | None = None
    _pause: float = 0.0  # of `time.monotonic`: until when nothing is submitted

    def __enter__(self) -> SlurmCluster:
        check_home(self.home)
        self._ledger = Ledger(self.home)
        self._cpus = self.slurm.cpus or self.threads
        self._answered = self._began = time.monotonic()
        try:
            self._cluster = queue.cluster()
            queue.check(flags_of(self.slurm, self._cpus))
        except queue.QueueError as error:
            raise RequestError(f"--launch slurm: {error}; nothing was submitted") from None
        return self

    def __exit__(self, *details: object) -> None:
        """Cancel what is left; where only this process is ended by a signal, let it go on."""
        left = [one for one in self._placed if one.submission is not None and not one.ended]
        by_signal = isinstance(details[1], KeyboardInterrupt) and details[1].args == ("SIGTERM",)
        if not by_signal:
            self._cancel(left)
        elif left:
            self.say(
                f"{len(left)} jobs go on in SLURM, and the same command follows them; to end them:"
                f" scancel {' '.join(sorted({one.task.partition('_')[0] for one in left}))}"
            )
        for follow in self._follow.values():
            if follow.lease is not None:
                follow.lease.release()

    def run(self, jobs: Sequence[Job], at_most: int | None = None) -> Iterator[Event]:
        """Submit the jobs in order, those that are not in the queue, and yield what happens.

        See `Launcher`. `at_most` is kept by SLURM, as the number of an array's jobs that run.
        """
        self._placed = [Placed(slot, job.on(threads=self._cpus)) for slot, job in enumerate(jobs)]
        self._attach()
        while True:
            self._submit(at_most)
            yield from self._look(at_most)
            if all(one.ended for one in self._placed):
                break
            for _ in range(round(_LOOK_SECONDS[time.monotonic() - self._began > 60.0])):
                yield Event(what="pulse", slot=-1)
                time.sleep(1.0)
        self._tidy()

    @property
    def numbers(self) -> tuple[str, ...]:
        """Return how SLURM calls the jobs that have not ended, as far as they were submitted."""
        return tuple(one.task for one in self._placed if one.submission and not one.ended)

    def _attach(self) -> None:
        """Find the jobs that an earlier call left in the queue or running."""
        found = [
            one
            for one in submissions.known(self.home)
            if one.cluster == self._cluster.name and one.folder not in self._follow
        ]
        seen = self._asked([one.name for one in found])
        by_run = {one.job.run: one for one in self._placed}
        for submission in found:
            if submission.array is None:  # its caller died as it was submitted
                tasks = self._asked([submission.name])
                array = max((int(task.partition("_")[0]) for task in tasks), default=None)
                if array is None:
                    continue
                submission = submissions.with_array(submission, array)
            mine = there = 0
            for place, runs in enumerate(submission.runs):
                state = seen.get(submission.task(place))
                if state is None or state.state not in _THERE:
                    continue
                there += 1
                for one in (by_run[run] for run in runs if run in by_run):
                    if one.submission is None and {job.run for job in one.job.all} <= set(runs):
                        one.submission, one.place = submission, place
                        mine += 1
            if mine:
                claim = Claim(submission.folder)
                self._follow[submission.folder] = Follow(submission, claim, claim.attempt())
                self.say(f"{mine} jobs of {submission.name} are in SLURM: following them")
            elif not there and self._is_done(submission):
                submissions.remove(submission)

    def _asked(self, names: Sequence[str]) -> dict[str, queue.Seen]:
        """Return what SLURM says of jobs, as soon as it answers."""
        while names:
            try:
                return queue.look(names)
            except queue.QueueError as error:
                self._tolerate(str(error))
                time.sleep(2.0)
        return {}

    def _submit(self, at_most: int | None) -> None:
        """Submit what is not in the queue, as far as there is room."""
        waiting = [one for one in self._placed if one.submission is None and not one.ended]
        queued = [one for one in self._placed if one.submission and not one.begun and not one.ended]
        if not waiting or len(queued) > (0 if at_most else _ARRAY_JOBS // 2):
            return
        running = sum(one.begun and not one.ended for one in self._placed if one.submission)
        if at_most is not None and running >= at_most:
            return
        if time.monotonic() < self._pause:
            return
        count = min(self._cluster.longest_array, _ARRAY_JOBS, len(waiting))
        room = count if at_most is None else at_most - running
        while refusal := self._refusal(waiting[:count], min(room, count)):
            if not any(word in refusal for word in _FULL + _LATER):
                raise RequestError(f"--launch slurm: {refusal}")
            if count == 1 or not any(word in refusal for word in _FULL):
                self._pause = time.monotonic() + _PAUSE_SECONDS
                self._tolerate(refusal)
                return
            count = max(count // 2, 1)

    def _refusal(self, ones: Sequence[Placed], at_once: int) -> str:
        """Submit jobs as an array; return why SLURM did not take them, empty where it did."""
        made = submissions.create(self.home, self._cluster.name, [one.job for one in ones])
        claim = Claim(made.folder)
        lease = claim.attempt()
        self._submitting = made
        array: int | None = None
        try:
            array = submit(made, self.slurm, self._cpus, at_once)
        except Refused as error:
            with contextlib.suppress(queue.QueueError):  # its answer may only have been lost
                array = queue.array_of(made.name)
            if array is None:
                if lease is not None:
                    lease.release()
                self._submitting = None
                submissions.remove(made)
                return str(error)
        made = submissions.with_array(made, array)
        self._follow[made.folder] = Follow(made, claim, lease, at_once)
        for place, one in enumerate(ones):
            one.submission, one.place, one.begun = made, place, False
        self._submitting = None
        self.say(f"submitted {len(ones)} jobs to SLURM as {array} ({made.name})")
        return ""

    def _look(self, at_most: int | None) -> Iterator[Event]:
        """Ask SLURM and the ledger what became of the jobs, and yield it."""
        open_ones = [one for one in self._placed if one.submission and not one.ended]
        try:
            seen = queue.look([one.submission.name for one in open_ones if one.submission])
            if at_most is not None:
                self._throttle(at_most)
        except queue.QueueError as error:
            self._tolerate(str(error))
            return
        if open_ones:  # else nobody was asked
            self._answered = time.monotonic()
        for follow in self._follow.values():  # whoever submitted may be gone by now
            follow.lease = follow.lease or follow.claim.attempt()
        for one in open_ones:
            yield from self._see(one, seen.get(one.task))

    def _see(self, one: Placed, seen: queue.Seen | None) -> Iterator[Event]:
        assert one.submission is not None
        state = "" if seen is None else seen.state
        if seen is not None and state in queue.PENDING:
            one.left, one.last = None, ""
            if seen.reason not in _USUAL:
                self._say_once(f"SLURM jobs of {one.submission.name} wait: {seen.reason}")
            if not one.begun:
                return
        one.begun = True
        ended = ends_of(one.job, self._ledger)
        underway = state in _THERE - queue.PENDING
        if seen is not None and underway and not ended:
            if one.running and one.start not in ("", seen.start):  # between two looks
                yield from self._lost(one, "it went back into SLURM's queue")
            one.start = seen.start
        if not one.running and (ended or underway):
            one.running = True
            yield Event(what="started", slot=one.slot, job=one.job)
        if ended:
            yield from self._say_ended(one, ended)
        elif state in queue.PENDING:
            yield from self._lost(one, "it went back into SLURM's queue")
        elif state in queue.UNDERWAY:
            one.left, one.last = None, ""
            progress = noted(self._ledger, one.job.run)
            if progress is not None and one.running:
                yield Event(what="progress", slot=one.slot, job=one.job, progress=progress)
        else:
            yield from self._gone(one, state)

    def _gone(self, one: Placed, state: str) -> Iterator[Event]:
        """Deal with a job that is not in the queue any more, and of which not all runs ended."""
        assert one.submission is not None
        now = time.monotonic()
        one.left = one.left or now
        one.last = state = state or one.last
        stopped = state in _TAKEN or self._ledger.status(one.job.run) == "interrupted"
        if state == "TIMEOUT":  # without a word, or it would be back in the queue: it hangs
            stopped = newest_step(one.job, self._ledger) > one.step
        again = one.returns < _RETURNS if stopped else one.losses + 1 < _ATTEMPTS
        again = again and state != "CANCELLED"
        if now - one.left < (_SETTLED_SECONDS if again else _CERTAIN_SECONDS):
            return
        said = submissions.last_words(one.submission.log(one.place))
        words = f"its SLURM job {one.task} ended {state or 'and is not known any more'}"
        if state == "CANCELLED":
            message = f"its SLURM job {one.task} was cancelled; the same command goes on"
            ended = [left_by(job, "interrupted", message) for job in one.job.all]
            yield from self._say_ended(one, ended)
        elif again:
            one.returns += stopped
            one.losses += not stopped
            one.step = max(one.step, newest_step(one.job, self._ledger))
            one.submission, one.left, one.last = None, None, ""
            yield from self._lost(one, f"{words}{said}")
        else:
            status = "out_of_memory" if state == "OUT_OF_MEMORY" else "failed"
            times = f", the {one.losses + 1 + one.returns}. of this run"
            ended = [left_by(job, status, f"{words}{times}{said}") for job in one.job.all]
            yield from self._say_ended(one, ended)

    def _lost(self, one: Placed, words: str) -> Iterator[Event]:
        if one.running:
            message = f"{words}; going on from its last checkpoint"
            yield Event(what="lost", slot=one.slot, job=one.job, message=message)
        one.running = False

    def _say_ended(self, one: Placed, ended: Sequence[Ended]) -> Iterator[Event]:
        if not one.running:
            yield Event(what="started", slot=one.slot, job=one.job)
        one.ended, one.running = True, False
        yield from ended_events(one.slot, one.job, ended)

    def _throttle(self, at_most: int) -> None:
        """Let the newest array run what the others leave of `at_most`."""
        follow = next(reversed(self._follow.values()), None)
        if follow is None or len(follow.submission.runs) < 2:
            return
        here = follow.submission.folder
        others = sum(
            one.begun and not one.ended and one.submission.folder != here
            for one in self._placed
            if one.submission is not None
        )
        queued = any(
            not one.begun and one.submission.folder == here
            for one in self._placed
            if one.submission is not None
        )
        at_once = max(at_most - others, 1)
        if queued and follow.submission.array is not None and at_once != follow.at_once:
            follow.at_once = at_once
            queue.throttle(follow.submission.array, at_once)

    def _tolerate(self, words: str) -> None:
        """Wait for a SLURM that does not answer, for a while.

        Raises:
            RequestError: it was silent for too long.
        """
        if time.monotonic() - self._answered > _SILENT_SECONDS:
            raise RequestError(f"SLURM was silent for {_SILENT_SECONDS / 60:.0f} min: {words}")
        self._say_once(f"SLURM: {words}; asking again")

    def _say_once(self, words: str) -> None:
        if words not in self._told:
            self._told.add(words)
            self.say(words)

    def _cancel(self, left: Sequence[Placed]) -> None:
        by_name: dict[str, list[str]] = {}
        others: list[str] = []  # another process follows them, and decides
        if self._submitting is not None:  # it may be there, under a number that is not known yet
            by_name[self._submitting.name] = []
        for one in left:
            assert one.submission is not None
            follow = self._follow[one.submission.folder]
            if follow.lease is not None:
                by_name.setdefault(one.submission.name, []).append(one.task)
            else:
                others.append(one.task)
        if others:
            self.say(f"{len(others)} jobs go on in SLURM: another command follows them too")
        for name, tasks in by_name.items():
            try:
                queue.cancel(name, tasks)
            except queue.QueueError as error:
                self.say(f"{len(tasks)} jobs could not be cancelled ({error}): scancel -n {name}")
            else:
                if tasks:
                    self.say(f"cancelled {len(tasks)} jobs in SLURM ({name})")

    def _tidy(self) -> None:
        """Remove the folders of which all runs are finished; logs of others are kept."""
        for folder, follow in list(self._follow.items()):
            if follow.lease is not None and self._is_done(follow.submission):
                follow.lease.release()
                submissions.remove(follow.submission)
                del self._follow[folder]

    def _is_done(self, submission: Submission) -> bool:
        runs = (run for several in submission.runs for run in several)
        return all(self._ledger.status(run) == "finished" for run in runs)
