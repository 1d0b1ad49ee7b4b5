"""What a service counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
JOBS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        name = "recformer_"
        self._requests = Counter(
            f"{name}requests", "Requests by address, method and status.", ["path", "method", "status"],
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            f"{name}request_seconds", "From a request to its answer.", ["path"], buckets=SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self._batch = Histogram(
            f"{name}batch_jobs", "Requests that ran together.", buckets=JOBS, registry=self.registry
        )
        self._batch_seconds = Histogram(
            f"{name}batch_seconds", "Seconds that they ran.", buckets=SECONDS, registry=self.registry
        )
        self._tokens = Counter(f"{name}tokens", "Tokens of requests, estimated.", registry=self.registry)
        self._waiting = Gauge(f"{name}waiting", "Requests that wait.", registry=self.registry)
        self._changes = Counter(f"{name}item_changes", "Items that were changed.", ["kind"], registry=self.registry)
        self._loads = Counter(f"{name}model_loads", "Changed models.", ["result"], registry=self.registry)

    def count_request(self, path: str, method: str, status: int, seconds: float) -> None:
        """Counts an answer. `path` is that of the route, so that ids do not become labels."""
        self._requests.labels(path, method, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def count_batch(self, jobs: int, tokens: int, seconds: float) -> None:
        """Counts a call of the model."""
        self._batch.observe(jobs)
        self._batch_seconds.observe(seconds)
        self._tokens.inc(tokens)

    def count_changes(self, kind: str, number: int) -> None:
        """Counts items that were added, changed or removed."""
        self._changes.labels(kind).inc(number)

    def count_load(self, result: str) -> None:
        """Counts a changed model that was taken over, or could not be loaded."""
        self._loads.labels(result).inc()

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Shows the length of a queue."""
        self._waiting.set_function(length)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


__all__ = ["Metrics"]
