"""One thread that runs the model, and the queue before it: jobs that arrive together are run together."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

Run = Callable[[Sequence[Any]], Sequence[Any]]
"""Answers payloads: for each an answer, or the exception that it gets instead."""


class QueueFullError(Exception):
    """Too many jobs wait, or they would wait too long.

    Args:
        seconds: after which there will be room again, roughly.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(f"The queue is full. Try again in {seconds} s.")
        self.seconds = seconds


class ClosedError(Exception):
    """The service is shutting down."""


@dataclass(eq=False)
class _Job:
    run: Run
    payload: Any
    tokens: int
    answer: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher:
    """Runs jobs in one thread, so that the event loop stays free and the model is used by one call at a time.

    Jobs wait in order of arrival. Those at the head that have the same function are answered by one call of it, up to a
    number of tokens. A call that finds fewer waits a moment for more, but only if the last one had company: a single
    client should not wait for nobody.

    Args:
        window: how long a call waits for more jobs, in seconds.
        max_tokens: tokens of a call's jobs; a larger job has a call of its own.
        max_waiting: jobs that may wait.
        max_seconds: how long what runs and waits may take, as the last calls let expect; a job that would wait longer
            is refused, because nobody would be there to read its answer.
        on_batch: is told the number of jobs, the tokens and the seconds of each call.
    """

    def __init__(
        self,
        window: float,
        max_tokens: int,
        max_waiting: int,
        max_seconds: float = math.inf,
        on_batch: Callable[[int, int, float], None] = lambda jobs, tokens, seconds: None,
    ) -> None:
        self.window, self.max_tokens, self.max_waiting = window, max_tokens, max_waiting
        self.max_seconds, self.on_batch = max_seconds, on_batch
        self._waiting: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recformer-model")
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._last_jobs = 1
        self._running_tokens = 0
        self._seconds_per_token = 0.0

    def __len__(self) -> int:
        """How many jobs wait."""
        return len(self._waiting)

    def start(self) -> None:
        """Begins to run jobs, in the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """Takes no further jobs, and returns when those that wait have their answers."""
        self._closed = True
        self._arrived.set()
        if self._task is not None:
            await self._task
        self._thread.shutdown()

    async def submit(self, run: Run, payload: Any, tokens: int = 0) -> Any:
        """The answer to a payload.

        Args:
            run: what answers it, together with other payloads of the same function.
            payload: what `run` takes a list of.
            tokens: what counts towards `max_tokens`.

        Raises:
            QueueFullError: if too many jobs wait, or they would wait too long.
            ClosedError: after [`close`].
            Exception: what `run` has raised, or returned for this payload.
        """
        if self._closed:
            raise ClosedError
        if len(self._waiting) >= self.max_waiting or (self._waiting and self._expected(tokens) > self.max_seconds):
            raise QueueFullError(self.seconds_to_wait())
        job = _Job(run, payload, tokens)
        self._waiting.append(job)
        self._arrived.set()
        try:
            return await job.answer
        finally:
            if job.answer.cancelled() and job in self._waiting:  # nobody waits for it any more
                self._waiting.remove(job)

    def seconds_to_wait(self) -> int:
        """How long it takes to run the jobs that run and wait, in whole seconds, at least 1."""
        return max(1, math.ceil(self._expected()))

    def _expected(self, tokens: int = 0) -> float:
        """Seconds until a new job of so many tokens has its answer, if what runs has only begun."""
        return (self._running_tokens + sum(job.tokens for job in self._waiting) + tokens) * self._seconds_per_token

    async def _work(self) -> None:
        while await self._any_waiting():
            jobs = await self._next_jobs()
            loop = asyncio.get_running_loop()
            started, self._running_tokens = loop.time(), sum(job.tokens for job in jobs)
            answers = await loop.run_in_executor(self._thread, _run, jobs[0].run, [job.payload for job in jobs])
            seconds = loop.time() - started
            for job, answer in zip(jobs, answers, strict=True):
                if job.answer.done():
                    continue
                if isinstance(answer, BaseException):
                    job.answer.set_exception(answer)
                else:
                    job.answer.set_result(answer)
            self._last_jobs = len(jobs)
            self._count(self._running_tokens, seconds)
            self.on_batch(len(jobs), self._running_tokens, seconds)
            self._running_tokens = 0

    def _count(self, tokens: int, seconds: float) -> None:
        if tokens:  # what has none, such as taking over a model, says nothing about requests
            found, known = seconds / tokens, self._seconds_per_token
            self._seconds_per_token = known + 0.2 * (found - known) if known else found

    async def _any_waiting(self) -> bool:
        """Waits for a job; False if there will be none."""
        while not self._waiting and not self._closed:
            self._arrived.clear()
            await self._arrived.wait()
        return bool(self._waiting)

    async def _next_jobs(self) -> list[_Job]:
        loop = asyncio.get_running_loop()
        jobs = [self._waiting.popleft()]
        tokens = jobs[0].tokens
        deadline = loop.time() + (self.window if self._last_jobs > 1 else 0.0)
        while True:
            while self._waiting and self._waiting[0].run == jobs[0].run:
                if tokens + self._waiting[0].tokens > self.max_tokens:
                    return jobs
                jobs.append(self._waiting.popleft())
                tokens += jobs[-1].tokens
            left = deadline - loop.time()
            if self._waiting or left <= 0 or self._closed:
                return jobs
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), left)
            except asyncio.TimeoutError:
                return jobs


def _run(run: Run, payloads: list[Any]) -> Sequence[Any]:
    try:
        return run(payloads)
    except Exception as error:
        return [error] * len(payloads)


__all__ = ["Batcher", "ClosedError", "QueueFullError", "Run"]
