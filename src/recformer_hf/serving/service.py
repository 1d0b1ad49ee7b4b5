"""What a service does, whatever the protocol: it queues requests, answers them, and takes over changed models."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from transformers.utils import logging

from .._version import __version__
from ..explaining import explain
from ..items.catalog import ItemCatalog
from .answering import Question, UnanswerableError, answer_all, caught
from .batching import Batcher, ClosedError, QueueFullError
from .item_changes import ChangeableItems, Changes, Outcome
from .items_journal import ItemsJournal
from .loading import Recommender, Signature, folder_signature
from .metrics import Metrics
from .problems import Problem, internal_error
from .schemas import ExplainRequest, RecommendRequest, SimilarRequest
from .settings import ServingLimits

logger = logging.get_logger(__name__)

WAITING_SHARE = 0.75
"""Of the time-out: a request that would have to wait longer is refused at once, so that it can go elsewhere."""


class Service:
    """Answers requests with a recommender.

    Args:
        recommender: loaded.
        limits: of requests.
        journal: of changes of items; None if they cannot be changed.
        load: loads the model again once its folder has changed; None: it is never loaded again.
        metrics: counts what happens.
    """

    def __init__(
        self,
        recommender: Recommender,
        limits: ServingLimits,
        journal: ItemsJournal | None = None,
        load: Callable[[], Recommender] | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.recommender, self.limits, self.journal, self._load = recommender, limits, journal, load
        self.metrics = metrics or Metrics()
        self._changeable = self._with_changes(recommender)
        self._tasks: list[asyncio.Task[None]] = []
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="recformer-loader")
        self.ready = False

    # Life

    async def start(self) -> None:
        """Begins to answer, in the running event loop."""
        limits = self.limits
        self._batcher = Batcher(
            limits.window_ms / 1000, limits.max_batch_tokens, limits.max_waiting,
            WAITING_SHARE * limits.timeout_seconds, self.metrics.count_batch,
        )  # fmt: skip
        self.metrics.watch_queue(self._batcher.__len__)
        self._batcher.start()
        self._tasks = [asyncio.get_running_loop().create_task(self._watch())]
        self.ready = True

    async def close(self) -> None:
        """Answers what waits, and ends."""
        self.ready = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._batcher.close()
        self._loader.shutdown(cancel_futures=True)

    def status(self) -> dict[str, Any]:
        """The state of the service."""
        recommender = self.recommender
        return {
            "status": "ready" if self.ready else "closing", "model": recommender.name,
            "num_items": len(recommender.catalog), "version": __version__,
        }  # fmt: skip

    # Reading

    async def recommend(self, request: RecommendRequest) -> dict[str, Any]:
        """The best items for histories."""
        limits = self.limits
        self._check_length("histories", request.histories, limits.max_histories, "max_histories")
        for number, history in enumerate(request.histories):
            self._check_history(f"histories[{number}]", history)
        self._check_top_k(request.top_k)
        for name in ("candidates", "exclude"):
            self._check_length(name, getattr(request, name) or [], limits.max_ids, "max_ids")
        question = Question(
            request.histories, request.top_k, request.exclude_history, request.candidates, request.exclude
        )
        tokens = self.recommender.tokens_of(request.histories)
        catalog, answer = await self._run(self._answer, question, tokens)
        return {"recommendations": [_named(catalog, items, request.attributes) for items in answer]}

    async def similar(self, request: SimilarRequest) -> dict[str, Any]:
        """The items that are most similar to one."""
        self._check_top_k(request.top_k)
        if not hasattr(self.recommender.model, "similar_items"):
            raise self._cannot("find similar items")
        tokens = self.recommender.tokens_of([[request.item]])
        catalog, items = await self._run(self._similar, (request.item, request.top_k), tokens)
        return {"items": _named(catalog, items, request.attributes)}

    async def explain(self, request: ExplainRequest) -> dict[str, Any]:
        """What of a history moved the score of an item."""
        self._check_history("history", request.history)
        tokens = self.recommender.tokens_of([request.history]) * len(request.history)
        found: dict[str, Any] = await self._run(self._explain, request, tokens)
        return found

    def item(self, item_id: str) -> dict[str, Any]:
        """An item of the catalogue."""
        catalog = self.recommender.catalog
        try:
            row = catalog.ids.find(item_id)
        except UnicodeEncodeError:
            row = None
        if row is None:
            raise Problem.of_field("item_id", f"There is no item {item_id[:120]!r}.", 404, "unknown-item")
        return {"item_id": item_id, "attributes": catalog[row]}

    # Changing

    async def change(self, wanted: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
        """Adds, changes or removes items; the answer comes once the change is on the disk.

        Args:
            wanted: new attributes by id, or None to remove the item.
        """
        if len(wanted) > self.limits.max_changes:
            raise Problem.of_field("items", self._too_many(len(wanted), self.limits.max_changes, "max_changes"))
        tokens = self.recommender.tokens_of([[item] for item in wanted.values() if item])
        outcome: Outcome = await self._run(self._change, Changes(dict(wanted)), tokens)
        for kind in ("added", "changed", "removed"):
            self.metrics.count_changes(kind, len(getattr(outcome, kind)))
        return {**vars(outcome), "num_items": len(self.recommender.catalog)}

    # What runs in the model's thread

    def _answer(self, questions: Sequence[Question]) -> list[Any]:
        model, catalog = self.recommender.model, self.recommender.catalog
        answers = answer_all(model, self.recommender.tokenizer, questions, self.limits.max_batch_tokens)
        return [each if isinstance(each, UnanswerableError) else (catalog, each) for each in answers]

    def _similar(self, requests: Sequence[tuple[Any, int]]) -> list[Any]:
        return [caught("item", self._similar_one, *request) for request in requests]

    def _similar_one(self, item: Any, top_k: int) -> tuple[ItemCatalog, list[tuple[str, float, int]]]:
        found = self.recommender.model.similar_items(item, top_k, self.recommender.tokenizer)
        items = zip(found.item_ids[0], found.scores[0].tolist(), found.rows[0].tolist(), strict=True)
        return self.recommender.catalog, list(items)

    def _explain(self, requests: Sequence[ExplainRequest]) -> list[Any]:
        return [caught("history", self._explain_one, request) for request in requests]

    def _explain_one(self, request: ExplainRequest) -> dict[str, Any]:
        model, tokenizer = self.recommender.model, self.recommender.tokenizer
        found = explain(
            model, tokenizer, request.history, request.item, attributes=request.attributes, words=request.words
        )
        return found.to_dict()

    def _change(self, requests: Sequence[Changes]) -> Sequence[Any]:
        assert self._changeable is not None
        return self._changeable.change(requests)

    def _follow(self, payloads: Sequence[None]) -> Sequence[None]:
        assert self._changeable is not None
        self._changeable.follow()
        return payloads

    def _take_over(self, found: Sequence[tuple[Recommender, ChangeableItems | None]]) -> Sequence[None]:
        self.recommender, self._changeable = found[-1]
        if self._changeable is not None:
            self._changeable.follow()  # what was changed while the model was loaded
        return [None] * len(found)

    # Watching the model's folder and the journal

    async def _watch(self) -> None:
        unsettled: Signature | None = None
        failed: Signature | None = None
        while True:
            await asyncio.sleep(self.limits.watch_seconds)
            try:
                if self.journal is not None and self.journal.has_more(self.recommender.position):
                    await self._batcher.submit(self._follow, None)
                if self._load is None:
                    continue
                signature = folder_signature(self.recommender.name)
                if signature in (None, self.recommender.signature, failed):
                    continue
                if signature != unsettled:  # somebody may still be writing to it
                    unsettled = signature
                    continue
                failed = signature
                loaded = await asyncio.get_running_loop().run_in_executor(self._loader, self._load_again)
                await self._batcher.submit(self._take_over, loaded)
                self.metrics.count_load("taken over")
                logger.warning(f"Took over the changed model in {loaded[0].name}: {len(loaded[0].catalog):,} items.")
            except QueueFullError:
                failed = None
            except Exception:  # the old model goes on answering
                self.metrics.count_load("failed")
                logger.exception(f"{self.recommender.name} has changed, but could not be loaded again.")

    def _load_again(self) -> tuple[Recommender, ChangeableItems | None]:
        assert self._load is not None
        recommender = self._load()
        return recommender, self._with_changes(recommender)

    def _with_changes(self, recommender: Recommender) -> ChangeableItems | None:
        """Applies the journal to a recommender that does not answer yet."""
        if self.journal is None:
            return None
        changeable = ChangeableItems(recommender, self.journal)
        changeable.follow()
        try:
            changeable.keep_vectors()
        except OSError as error:  # the next start will be slower
            logger.warning(f"The vectors of changed items could not be kept: {error}")
        return changeable

    # Helpers

    async def _run(self, run: Callable[[Sequence[Any]], Sequence[Any]], payload: Any, tokens: int) -> Any:
        """The answer of the model's thread, or a problem."""
        try:
            return await asyncio.wait_for(self._batcher.submit(run, payload, tokens), self.limits.timeout_seconds)
        except QueueFullError as error:
            detail = f"{len(self._batcher)} requests wait already. Try again in {error.seconds} s."
            raise Problem(429, "queue-full", detail, headers={"Retry-After": str(error.seconds)}) from None
        except ClosedError:
            detail = "The service is shutting down. Send the request again; another process will answer it."
            raise Problem(503, "closing", detail, headers={"Retry-After": "1"}) from None
        except asyncio.TimeoutError:
            detail = (
                f"There was no answer within {self.limits.timeout_seconds:g} s. Send fewer or shorter histories, or "
                "try again later."
            )
            seconds = str(self._batcher.seconds_to_wait())
            raise Problem(503, "timed-out", detail, headers={"Retry-After": seconds}) from None
        except UnanswerableError as error:
            status, kind = (404, "unknown-item") if error.field.startswith("item_ids[") else (422, "invalid-request")
            raise Problem.of_field(error.field or "body", error.detail, status, kind) from None
        except OSError as error:
            logger.exception("A change of items could not be written.")
            detail = "The change could not be written to the disk, so nothing was changed. The service's log says why."
            raise Problem(507, "disk-error", detail) from error
        except Exception as error:
            logger.exception("The model has failed.")
            raise internal_error() from error

    def _check_history(self, field: str, history: Sequence[Any]) -> None:
        self._check_length(field, history, self.limits.max_history_items, "max_history_items")
        if self.recommender.reads_text:
            return
        for place, entry in enumerate(history):
            if isinstance(entry, Mapping):
                model = type(self.recommender.model).__name__
                detail = f"This service's model, a {model}, knows items by their ids alone. Send the item's id."
                raise Problem.of_field(f"{field}[{place}]", detail)

    def _check_top_k(self, top_k: int) -> None:
        if top_k > self.limits.max_top_k:
            raise Problem.of_field("top_k", f"This is {top_k}; at most {self.limits.max_top_k} items can be asked for.")

    def _check_length(self, field: str, values: Sequence[Any], most: int, limit: str) -> None:
        if len(values) > most:
            raise Problem.of_field(field, self._too_many(len(values), most, limit))

    @staticmethod
    def _too_many(found: int, most: int, limit: str) -> str:
        newest = " Send the newest: the model reads the last ones alone." if limit == "max_history_items" else ""
        return f"These are {found:,}; this service takes at most {most:,} ({limit}).{newest}"

    def _cannot(self, what: str) -> Problem:
        name = type(self.recommender.model).__name__
        return Problem(501, "not-supported", f"This service's model, a {name}, cannot {what}. Serve a Recformer.")


def _named(catalog: ItemCatalog, items: Sequence[tuple[str, float, int]], attributes: bool) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"item_id": item_id, "score": score} for item_id, score, _ in items]
    if attributes:
        for item, (_, _, row) in zip(found, items, strict=True):
            item["attributes"] = catalog[row]
    return found


__all__ = ["Service"]
