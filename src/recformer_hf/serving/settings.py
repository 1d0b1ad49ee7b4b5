"""The limits of a service: what one request may ask for, how much may wait, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, field, fields


def _limit(default: float, text: str) -> float:
    value: float = field(default=default, metadata={"help": text})
    return value


@dataclass
class ServingLimits:
    """Limits of a service. A request beyond one gets a problem document that names the limit."""

    max_body_bytes: int = _limit(1 << 20, "Bytes of a request's body.")  # type: ignore[assignment]
    max_histories: int = _limit(64, "Histories of one request.")  # type: ignore[assignment]
    max_history_items: int = _limit(500, "Items of a history.")  # type: ignore[assignment]
    max_top_k: int = _limit(200, "Items that a request may ask for.")  # type: ignore[assignment]
    max_ids: int = _limit(10_000, "Ids in candidates, and in exclude.")  # type: ignore[assignment]
    max_changes: int = _limit(1000, "Items that one request may add, change or remove.")  # type: ignore[assignment]
    max_waiting: int = _limit(128, "Requests that may wait; further ones get status 429.")  # type: ignore[assignment]
    max_batch_tokens: int = _limit(8192, "Tokens of the requests that run together.")  # type: ignore[assignment]
    window_ms: float = _limit(4.0, "How long a request waits for others to share its forward pass, in milliseconds.")
    timeout_seconds: float = _limit(30.0, "After this time a request that has no answer yet gets status 503.")
    watch_seconds: float = _limit(2.0, "How often the model's folder and the changes of items are looked at.")

    def __post_init__(self) -> None:
        for each in fields(self):
            value, whole = getattr(self, each.name), each.type == "int"
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or value < 0:
                raise ValueError(f"{each.name} must be a {'whole ' if whole else ''}number, got {value!r}.")
            if value == 0 and each.name != "window_ms":
                raise ValueError(f"{each.name} must be greater than 0.")


__all__ = ["ServingLimits"]
