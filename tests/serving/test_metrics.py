from __future__ import annotations

import pytest

pytest.importorskip("prometheus_client", reason="needs the extra [serve]")

from recformer_hf.serving.metrics import Metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"recformer_{name}", labels)


def test_what_happens_is_counted():
    metrics, queue = Metrics(), [1, 2, 3]
    metrics.count_request("/recommend", "POST", 200, 0.2)
    metrics.count_request("/recommend", "POST", 422, 0.001)
    metrics.count_batch(5, 1500, 0.3)
    metrics.count_changes("added", 2)
    metrics.count_load("failed")
    metrics.watch_queue(queue.__len__)
    assert value(metrics, "requests_total", path="/recommend", method="POST", status="422") == 1
    assert value(metrics, "request_seconds_count", path="/recommend") == 2
    assert value(metrics, "batch_jobs_sum") == 5
    assert value(metrics, "tokens_total") == 1500
    assert value(metrics, "item_changes_total", kind="added") == 2
    assert value(metrics, "model_loads_total", result="failed") == 1
    assert value(metrics, "waiting") == 3
    queue.pop()
    assert b"recformer_waiting 2.0" in metrics.text()


def test_two_services_do_not_share_their_metrics():
    first, second = Metrics(), Metrics()
    first.count_batch(5, 1, 1.0)
    assert value(second, "batch_jobs_sum") == 0
