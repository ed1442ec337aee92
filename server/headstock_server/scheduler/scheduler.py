"""Takes tickets, runs passes on one or more threads per device, delivers answers once per pass."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence

from headstock.errors import DeadlineExceeded, Exhausted, HeadstockError, InvalidInput, Unavailable
from headstock.preprocess import Row
from headstock_server.scheduler.device import Device
from headstock_server.scheduler.execution import Executed, execute
from headstock_server.scheduler.heads import Again
from headstock_server.scheduler.lane import Pass
from headstock_server.scheduler.options import SchedulerOptions
from headstock_server.scheduler.policy import NEVER, WAKING
from headstock_server.scheduler.recorder import Recorder
from headstock_server.scheduler.statistics import ModelKey, PassRecord, SchedulerStatistics
from headstock_server.scheduler.ticket import Ticket

logger = logging.getLogger(__name__)

Deliver = Callable[[Sequence[Ticket]], None]
Trace = Callable[[PassRecord], None]


class Scheduler:
    """Queues rows by lane and runs them; a pass is chosen only when a runner is free (late binding)."""

    def __init__(self, deliver: Deliver, options: SchedulerOptions | None = None, trace: Trace | None = None) -> None:
        """`deliver` is called from a runner thread, without locks, with the tickets that a pass completed.

        `trace` is called after it, for every pass, by one runner at a time.
        """
        self.options = options or SchedulerOptions()
        self._deliver = deliver
        self._trace = trace
        self._tracing = threading.Lock()
        self._lock = threading.Lock()
        self._quiet = threading.Condition(self._lock)
        self._devices: dict[str, Device] = {}
        self._rows = self._tokens = self._open = self._refused = self._hold = 0
        self._draining = self._stopped = False
        self._recorder = Recorder()

    # ------------------------------------------------------------------------------------------ callers
    def submit(self, ticket: Ticket, *, wake: bool = True) -> bool:
        """Queue a ticket; never blocks. Without `wake`, the caller must call `wake` soon: an idle runner sleeps on.

        Returns False if `wake` had better come a little later: others may be about to ask, and the runner itself would
        not wait for them.

        Raises `Exhausted` when the queue is full, `Unavailable` when draining, `DeadlineExceeded` when it is too
        late already or would be by the time it ran, `InvalidInput` for no rows or more rows than the queue holds.
        """
        count = len(ticket.rows)
        tokens = ticket.rows[0].length if count == 1 else sum(row.length for row in ticket.rows)
        if not 0 < count <= self.options.queue_rows:
            raise InvalidInput(f"the request has {count} rows; expected 1 to {self.options.queue_rows}")
        now = time.monotonic_ns()
        if ticket.deadline is not None and ticket.deadline * 1e9 <= now:
            raise DeadlineExceeded("the deadline had passed before the request was queued")
        backbone = ticket.model.backbone
        with self._lock:
            if self._draining:
                raise Unavailable("the server is draining and takes no new requests")
            counters = self._recorder.lane(backbone)
            if self._is_full(count, tokens):
                self._refused += 1
                raise self._full()
            device = self._devices.get(backbone.lane.device) or self._start(backbone.lane.device)
            if ticket.deadline is not None:
                pace = device.lane(backbone).meter.pace
                device.promises.admit(ticket, tokens, pace, now, self.options.runners)
                longest = max([row.length for row in ticket.rows])
                takes = pace.of(count, longest) + pace.spread_ns
                device.latest = min(device.latest, int(ticket.deadline * 1e9 - takes) - WAKING)
            self._rows += count
            self._tokens += tokens
            self._open += 1
            self._recorder.queued(counters, count, tokens)
            ticket.queued(device.abandon)
            device.inbox.append(ticket)
            if backbone.lane == device.expecting:
                device.company.asked(now)
            if wake and device.idle:
                device.wake.notify()
            return device.company.complete or bool(device.company.until(now))

    def check_room(self, rows: int, making: int = 0) -> None:
        """Raise `Exhausted` if a request of so many rows would be refused however short they are.

        Cheaper than making the rows first. `making` rows of other requests are on their way and count as waiting.
        """
        # Without the lock: a number that is a moment old lets a request through that `submit` refuses.
        if self._is_full(making + rows, making + rows, others=making):
            with self._lock:
                self._refused += 1
                raise self._full()

    def wake(self) -> None:
        """Let idle runners look at what was queued."""
        with self._lock:
            now = time.monotonic_ns()
            for device in self._devices.values():
                # A runner that waits for company looks again by itself, and soon enough for most.
                until = device.company.until(now) if device.holding else 0
                if device.idle and device.inbox and (not 0 < until < device.latest or device.has_strangers()):
                    device.wake.notify()

    def hold(self, rows: int) -> None:
        """Start no pass until `rows` rows wait, then go on as usual; 0 lets go at once. For tests."""
        with self._lock:
            self._hold = rows
            self._wake_all()

    def drain(self, timeout: float) -> bool:
        """Refuse new tickets and wait until every accepted one is answered; False if `timeout` seconds pass first."""
        with self._lock:
            self._draining = True
            self._hold = 0
            self._wake_all()
            return self._quiet.wait_for(lambda: self._open == 0, timeout)

    def close(self) -> None:
        """Stop the runners after their current pass; tickets that still wait are answered `Unavailable`."""
        with self._lock:
            self._draining = self._stopped = True
            self._wake_all()
            threads = [thread for device in self._devices.values() for thread in device.threads]
        for thread in threads:
            thread.join()
        left = [t for d in self._devices.values() for t in d.waiting()]
        self._settle(left, lambda _: Unavailable("the server stopped before this request ran"))

    def forget(self, models: Collection[ModelKey]) -> None:
        """Drop the counters of versions that are not loaded any more."""
        with self._lock:
            self._recorder.forget(models)

    @property
    def stopped(self) -> bool:
        """True once nothing will run any more: it was closed, or a bug ended a runner."""
        return self._stopped

    def statistics(self) -> SchedulerStatistics:
        """A snapshot of the counters."""
        with self._lock:
            return SchedulerStatistics(
                queued_rows=self._rows,
                queued_tokens=self._tokens,
                refused=self._refused,
                backbones=self._recorder.backbones(),
                models=self._recorder.models(),
            )

    def recent(self) -> list[PassRecord]:
        """The latest 256 passes, oldest first: what was in each, and why it was released as it was."""
        with self._lock:
            return list(self._recorder.recent)

    def __repr__(self) -> str:
        return f"Scheduler(devices={sorted(self._devices)}, queued_rows={self._rows}, open={self._open})"

    # ------------------------------------------------------------------------------------------ runners
    def _run(self, device: Device) -> None:
        try:
            while self._step(device):
                # The pass is a local of `_step`: an idle runner must not keep the models of its last pass loaded.
                pass
        except Exception:
            # Better to refuse from now on than to accept what nobody will run.
            logger.critical("this is a bug: a runner stopped and takes the scheduler with it", exc_info=True)
            with self._lock:
                self._draining = self._stopped = True
                self._wake_all()
            self._settle(device.waiting(), lambda _: Unavailable("the server's scheduler has stopped"))

    def _step(self, device: Device) -> bool:
        """Choose a pass, run it, hand over its answers; False when the scheduler stops."""
        work = self._next(device)
        if work is None:
            return False
        try:
            self._finish(device, work, execute(work))
        except Exception:
            logger.exception("a pass of %s ended in a bug", work.lane)
            self._settle(work.tickets, lambda _: HeadstockError("this is a bug: the pass could not be finished"))
        return True

    def _next(self, device: Device) -> Pass | None:
        """The next pass, waiting for one if need be; None when the scheduler stops."""
        while True:
            with device.picking:
                with self._lock:
                    if self._stopped:
                        return None
                    held = self._rows < self._hold
                    if not held:
                        self._hold = 0
                    arrived, device.inbox, device.latest = device.inbox, [], NEVER
                    now = time.monotonic_ns()
                    company_until = device.company.until(now)
                picked = device.pick(arrived, now, held, company_until)
            self._settle(picked.expired, _too_late)
            self._settle(picked.abandoned, _gone)
            with self._lock:
                self._rows -= picked.rows
                self._tokens -= picked.tokens
                if picked.lane is not None:
                    self._recorder.left(picked.lane, picked.rows, picked.tokens)
                if picked.work is not None:
                    for ticket, row in zip(picked.work.tickets, picked.work.rows, strict=True):
                        ticket.timings.started_ns = ticket.timings.started_ns or now
                        if ticket.deadline is not None:
                            device.promises.started(ticket, row.length)
                    device.begun(picked.work)
                    if device.idle and self._rows:
                        device.wake.notify()
                    return picked.work
                nothing = picked.rows == 0 and not device.inbox and not device.returning
                if nothing and not self._stopped and held == (self._rows < self._hold):
                    device.idle += 1
                    device.holding = picked.ready_at != NEVER
                    pause = max(0.0, (picked.ready_at - now) / 1e9) if device.holding else None
                    device.wake.wait(pause)
                    device.holding = False
                    device.idle -= 1

    def _finish(self, device: Device, work: Pass, executed: Executed) -> None:
        done: list[Ticket] = []
        with self._lock:
            device.ended(work)
            record = self._recorder.ran(work, executed)
            if not executed.reran:
                ran_ns = executed.input_ns + executed.infer_ns
                device.took(work, executed.padded_tokens, ran_ns, time.monotonic_ns())
            for ticket, index, due, value in zip(work.tickets, work.indices, work.dues, executed.values, strict=True):
                if ticket.result is not None:
                    continue
                if isinstance(value, Again):
                    self._return(device, ticket, index, due, value.row)
                elif isinstance(value, HeadstockError):
                    self._close(ticket, value, done)
                    if ticket.waiting:
                        device.abandoned.append(ticket)
                elif ticket.answer(index, value):
                    self._close(ticket, None, done)
            device.expecting = work.lane
            device.company.answered(len(done), executed.infer_ns, time.monotonic_ns())
        self._hand_over(done)
        if self._trace is not None:
            with self._tracing:
                self._trace(record)

    def _return(self, device: Device, ticket: Ticket, index: int, due: int, row: Row) -> None:
        # Caller holds the lock. What was accepted once is not refused between two steps, however full the queue is.
        ticket.rows[index] = row
        self._rows += 1
        self._tokens += row.length
        self._recorder.left(ticket.model.backbone.lane, -1, -row.length)
        device.promises.returned(ticket, row.length)
        device.returning.append((ticket, index, due))
        if device.idle:
            device.wake.notify()

    # ------------------------------------------------------------------------------------------ helpers
    def _settle(self, tickets: Sequence[Ticket], error: Callable[[Ticket], HeadstockError]) -> None:
        """Answer tickets that will not run."""
        if not tickets:
            return
        done: list[Ticket] = []
        with self._lock:
            for ticket in tickets:
                if ticket.result is None:
                    self._close(ticket, error(ticket), done)
                    if ticket.waiting:
                        # One row of it was hopeless; nobody waits for the others any more.
                        self._devices[ticket.model.backbone.lane.device].abandoned.append(ticket)
        self._hand_over(done)

    def _close(self, ticket: Ticket, error: HeadstockError | None, done: list[Ticket]) -> None:
        # Caller holds the lock; the ticket has no result yet.
        ticket.result = error if error is not None else ticket.outputs
        ticket.timings.finished_ns = time.monotonic_ns()
        self._recorder.closed(ticket)
        if ticket.deadline is not None:
            self._devices[ticket.model.backbone.lane.device].promises.closed(ticket)
        done.append(ticket)

    def _hand_over(self, done: Sequence[Ticket]) -> None:
        """Deliver closed tickets; only then may a drain end."""
        if not done:
            return
        wanted = [ticket for ticket in done if not ticket.cancelled]
        try:
            if wanted:
                self._deliver(wanted)
        except Exception:
            # A runner that died of its caller's mistake would hang every later request.
            logger.exception("delivering %d answers failed", len(wanted))
        with self._lock:
            self._open -= len(done)
            if self._open == 0 and self._draining:
                self._quiet.notify_all()

    def _is_full(self, rows: int, tokens: int, others: int = 0) -> bool:
        """True if so many more would be too many; never if nothing waits and no `others` are on their way."""
        options = self.options
        return (self._rows + others > 0) and (
            self._rows + rows > options.queue_rows
            or self._tokens + tokens > options.queue_tokens
            or self._recorder.waiting_ns > options.queue_seconds * 1e9 * options.runners
        )

    def _full(self) -> Exhausted:
        options, seconds = self.options, self._recorder.waiting_ns / 1e9 / self.options.runners
        wait = min(max(seconds, 0.01), 60.0)
        return Exhausted(
            f"the queue is full: {self._rows} rows ({self._tokens} tokens, some {seconds:.2f} s of work) wait; at most "
            f"{options.queue_rows} rows, {options.queue_tokens} tokens and {options.queue_seconds:g} s of work may",
            fix=f"send it again in {wait:.2f} s, or fewer rows at once",
            retry_after=wait,
        )

    def _start(self, name: str) -> Device:
        # Caller holds the lock.
        device = Device(self._lock, self.options)
        for i in range(self.options.runners):
            thread = threading.Thread(target=self._run, args=(device,), name=f"runner-{name}-{i}", daemon=True)
            thread.start()
            device.threads.append(thread)
            # Not before: what is queued where no thread could be started would wait for ever.
            self._devices[name] = device
        return device

    def _wake_all(self) -> None:
        # Caller holds the lock.
        for device in self._devices.values():
            device.wake.notify_all()


def _too_late(ticket: Ticket) -> HeadstockError:
    waited = (time.monotonic_ns() - ticket.timings.submitted_ns) / 1e9
    became = "not finished" if ticket.timings.passes else "not run"
    return DeadlineExceeded(f"the deadline passed after {waited:.3f} s in the queue; the request was {became}")


def _gone(ticket: Ticket) -> HeadstockError:
    return HeadstockError("the caller cancelled the request")
