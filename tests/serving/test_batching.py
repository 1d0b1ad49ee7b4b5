from __future__ import annotations

import asyncio
import threading
import time

import pytest

from recformer_hf.serving.batching import Batcher, ClosedError, QueueFullError
from tests.support.serving import run_async


class Recorder:
    """Answers numbers with their doubles, and keeps what it was called with."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.calls: list[list[int]] = []
        self.threads: set[int] = set()
        self.gate = gate

    def double(self, numbers):
        self.calls.append(list(numbers))
        self.threads.add(threading.get_ident())
        if self.gate is not None:
            self.gate.wait(10)
        return [ValueError(f"{number} is negative") if number < 0 else 2 * number for number in numbers]


def batcher(**settings):
    return Batcher(**{"window": 0.2, "max_tokens": 100, "max_waiting": 50, **settings})


async def settled():
    for _ in range(20):
        await asyncio.sleep(0.005)


def test_what_waits_runs_together_and_each_gets_its_own_answer():
    async def test():
        gate = threading.Event()
        recorder, queue = Recorder(gate), batcher()
        queue.start()
        first = asyncio.ensure_future(queue.submit(recorder.double, 1))
        await settled()  # the first runs alone, and the others wait for it
        others = [asyncio.ensure_future(queue.submit(recorder.double, number)) for number in (2, -3, 4)]
        await settled()
        assert len(queue) == 3
        gate.set()
        answers = await asyncio.gather(first, *others, return_exceptions=True)
        assert answers[:2] == [2, 4]
        assert answers[3] == 8
        assert str(answers[2]) == "-3 is negative"
        assert recorder.calls == [[1], [2, -3, 4]]
        assert len(recorder.threads) == 1
        assert threading.get_ident() not in recorder.threads
        await queue.close()

    run_async(test)


def test_a_batch_has_at_most_so_many_tokens_and_one_function():
    async def test():
        gate = threading.Event()
        recorder, other, queue = Recorder(gate), Recorder(), batcher(window=0.0)
        queue.start()
        jobs = [asyncio.ensure_future(queue.submit(recorder.double, 0))]
        await settled()
        for number, tokens in ((1, 60), (2, 40), (3, 1), (4, 500), (5, 1)):
            jobs.append(asyncio.ensure_future(queue.submit(recorder.double, number, tokens)))
        jobs.append(asyncio.ensure_future(queue.submit(other.double, 6)))
        jobs.append(asyncio.ensure_future(queue.submit(recorder.double, 7)))
        await settled()
        gate.set()
        assert await asyncio.gather(*jobs) == [0, 2, 4, 6, 8, 10, 12, 14]
        assert recorder.calls == [[0], [1, 2], [3], [4], [5], [7]]
        assert other.calls == [[6]]
        await queue.close()

    run_async(test)


def test_a_window_is_only_waited_for_if_there_was_company():
    async def test():
        recorder, queue = Recorder(), batcher(window=0.15)
        queue.start()
        started = time.perf_counter()
        await queue.submit(recorder.double, 1)
        assert time.perf_counter() - started < 0.15
        gate = recorder.gate = threading.Event()
        first = asyncio.ensure_future(queue.submit(recorder.double, 2))
        await settled()
        pair = [asyncio.ensure_future(queue.submit(recorder.double, number)) for number in (3, 4)]
        await settled()
        gate.set()
        await asyncio.gather(first, *pair)

        async def later():
            await asyncio.sleep(0.02)
            return await queue.submit(recorder.double, 6)

        await asyncio.gather(queue.submit(recorder.double, 5), later())
        assert recorder.calls == [[1], [2], [3, 4], [5, 6]]
        await queue.close()

    run_async(test)


def test_a_full_queue_refuses_and_says_for_how_long():
    async def test():
        gate = threading.Event()
        recorder, queue = Recorder(gate), batcher(max_waiting=2)
        queue.start()
        jobs = [asyncio.ensure_future(queue.submit(recorder.double, 0))]
        await settled()
        jobs += [asyncio.ensure_future(queue.submit(recorder.double, number)) for number in (1, 2)]
        await settled()
        with pytest.raises(QueueFullError) as caught:
            await queue.submit(recorder.double, 3)
        assert caught.value.seconds >= 1
        gate.set()
        assert await asyncio.gather(*jobs) == [0, 2, 4]
        await queue.close()

    run_async(test)


def test_who_would_wait_too_long_is_refused():
    async def test():
        gate = threading.Event()
        recorder, queue = Recorder(gate), batcher(max_tokens=1, max_seconds=0.5)
        queue.start()
        gate.set()
        await queue.submit(recorder.double, 0, tokens=1)
        gate.clear()
        slow = asyncio.ensure_future(queue.submit(recorder.double, 1, tokens=1))
        await asyncio.sleep(1.5)
        gate.set()
        assert await slow == 2  # a token takes 0.3 s now: a fifth of 1.5
        gate.clear()
        jobs = []
        for number in (2, 3):
            jobs.append(asyncio.ensure_future(queue.submit(recorder.double, number, tokens=1)))
            await settled()
        with pytest.raises(QueueFullError) as caught:
            await queue.submit(recorder.double, 4, tokens=1)
        assert caught.value.seconds == queue.seconds_to_wait()
        gate.set()
        assert await asyncio.gather(*jobs) == [4, 6]  # the first had nobody before it
        await queue.close()

    run_async(test)


def test_what_has_no_tokens_does_not_change_what_is_expected():
    async def test():
        gate = threading.Event()
        recorder, queue = Recorder(gate), batcher(max_seconds=0.5)
        queue.start()
        load = asyncio.ensure_future(queue.submit(recorder.double, 0))
        await asyncio.sleep(1.0)
        gate.set()
        assert await load == 0
        assert await asyncio.gather(*(queue.submit(recorder.double, n, tokens=1) for n in range(8))) == [
            2 * n for n in range(8)
        ]
        await queue.close()

    run_async(test)


def test_whoever_gives_up_takes_no_place_and_no_time():
    async def test():
        gate = threading.Event()
        recorder, queue = Recorder(gate), batcher()
        queue.start()
        first = asyncio.ensure_future(queue.submit(recorder.double, 0))
        await settled()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(queue.submit(recorder.double, 1), 0.01)
        assert len(queue) == 0
        first.cancel()  # while it runs
        last = asyncio.ensure_future(queue.submit(recorder.double, 2))
        await settled()
        gate.set()
        assert await last == 4
        assert recorder.calls == [[0], [2]]
        await queue.close()

    run_async(test)


def test_closing_answers_what_waits_and_takes_nothing_more():
    async def test():
        gate = threading.Event()
        recorder, queue = Recorder(gate), batcher()
        queue.start()
        jobs = [asyncio.ensure_future(queue.submit(recorder.double, 0))]
        await settled()
        jobs.append(asyncio.ensure_future(queue.submit(recorder.double, 1)))
        await settled()
        closing = asyncio.ensure_future(queue.close())
        await settled()
        with pytest.raises(ClosedError):
            await queue.submit(recorder.double, 2)
        assert not closing.done()
        gate.set()
        await closing
        assert [await job for job in jobs] == [0, 2]

    run_async(test)


def test_an_error_of_the_function_is_everybodys_and_the_thread_goes_on():
    async def test():
        def fails(payloads):
            raise RuntimeError(f"{len(payloads)} payloads")

        told: list[tuple[int, int]] = []
        queue = batcher(on_batch=lambda jobs, tokens, seconds: told.append((jobs, tokens)))
        queue.start()
        with pytest.raises(RuntimeError, match="1 payloads"):
            await queue.submit(fails, 1, 7)
        assert await queue.submit(Recorder().double, 4, 5) == 8
        await settled()
        assert told == [(1, 7), (1, 5)]
        await queue.close()

    run_async(test)
