from __future__ import annotations

import asyncio
import json
import shutil
import threading

import pytest

pytest.importorskip("fastapi", reason="needs the extra [serve]")

from recformer_hf import RecformerForSeqRec, RecformerTokenizer
from recformer_hf.serving.item_changes import ChangeableItems
from recformer_hf.serving.items_journal import ItemsJournal
from recformer_hf.serving.loading import load_recommender
from recformer_hf.serving.problems import Problem
from recformer_hf.serving.schemas import ExplainRequest, RecommendRequest
from recformer_hf.serving.service import Service
from recformer_hf.serving.settings import ServingLimits
from tests.support.serving import IDS, copy_shop, run_async, saved_shop

ASK = RecommendRequest(histories=[[IDS[0]]], top_k=2)


def service(folder=None, journal=None, load=None, **limits) -> Service:
    recommender = load_recommender(folder or saved_shop() / "shop")
    return Service(recommender, ServingLimits(**{"window_ms": 0, "watch_seconds": 0.03, **limits}), journal, load)


def with_service(made: Service, test):
    async def run():
        await made.start()
        try:
            return await test(made)
        finally:
            await made.close()

    return run_async(run)


class Gate:
    """Holds the model's thread until it is opened."""

    def __init__(self, made: Service) -> None:
        self.opened, self.reached = threading.Event(), threading.Event()
        answer = made._answer

        def held(questions):
            self.reached.set()
            self.opened.wait(10)
            return answer(questions)

        made._answer = held

    async def wait(self) -> None:
        while not self.reached.is_set():
            await asyncio.sleep(0.002)


def test_a_full_queue_gets_429_and_what_was_taken_is_answered():
    async def test(made):
        gate = Gate(made)
        asked = [asyncio.ensure_future(made.recommend(ASK))]
        await gate.wait()
        asked += [asyncio.ensure_future(made.recommend(ASK)) for _ in range(5)]
        await asyncio.sleep(0.02)
        refused = [each for each in asked if each.done()]
        gate.opened.set()
        assert len(refused) == 3
        for each in refused:
            problem = each.exception()
            assert isinstance(problem, Problem)
            assert problem.status == 429
            assert int(problem.headers["Retry-After"]) >= 1
        for each in asked:
            if each not in refused:
                assert len((await each)["recommendations"][0]) == 2

    with_service(service(max_waiting=2), test)


def test_a_time_out_gets_503_and_the_next_request_is_answered():
    async def test(made):
        gate = Gate(made)
        with pytest.raises(Problem) as caught:
            await made.recommend(ASK)
        assert caught.value.status == 503
        assert "Retry-After" in caught.value.headers
        gate.opened.set()
        await made.recommend(ASK)

    with_service(service(timeout_seconds=0.2), test)


def test_an_error_of_the_model_is_told_without_its_text(caplog):
    async def test(made):
        made._answer = lambda questions: 1 / 0
        with pytest.raises(Problem) as caught:
            await made.recommend(ASK)
        assert caught.value.status == 500
        assert "zero" not in str(caught.value.document())
        with pytest.raises(Problem) as again:
            await made.recommend(ASK)
        assert again.value is not caught.value  # it would keep the traceback, and the request, of each time

    with_service(service(), test)


def test_closing_finishes_what_runs_and_what_waits():
    async def test():
        made = service()
        await made.start()
        gate = Gate(made)
        asked = [asyncio.ensure_future(made.recommend(ASK))]
        await gate.wait()
        asked.append(asyncio.ensure_future(made.recommend(ASK)))
        await asyncio.sleep(0.01)
        closing = asyncio.ensure_future(made.close())
        await asyncio.sleep(0.01)
        assert made.status()["status"] == "closing"
        with pytest.raises(Problem) as caught:
            await made.recommend(ASK)
        assert caught.value.status == 503
        gate.opened.set()
        await closing
        for each in asked:
            assert len((await each)["recommendations"][0]) == 2

    run_async(test)


async def until(condition, seconds: float = 15) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "nothing has happened"
        await asyncio.sleep(0.01)


def other_model(folder) -> None:
    """A checkpoint of other items in place of a folder's, replaced as a whole."""
    model = RecformerForSeqRec.from_pretrained(saved_shop() / "encoder")
    tokenizer = RecformerTokenizer.from_pretrained(saved_shop() / "shop")
    new = folder.with_name("new")
    model.with_catalog({f"other-{row}": {"title": f"thing {row}"} for row in range(20)}, tokenizer).save_pretrained(new)
    tokenizer.save_pretrained(new)
    folder.rename(folder.with_name("old"))
    new.rename(folder)


def test_a_new_checkpoint_is_taken_over_without_a_dropped_request(tmp_path):
    folder = copy_shop(tmp_path)

    async def test(made):
        answered, stop = [], False

        async def ask_on() -> None:
            while not stop:
                question = RecommendRequest(histories=[[{"title": "thing 3"}]], top_k=1)
                answered.append((await made.recommend(question))["recommendations"][0][0]["item_id"])

        clients = [asyncio.ensure_future(ask_on()) for _ in range(3)]
        await until(lambda: len(answered) > 5)
        await asyncio.get_running_loop().run_in_executor(None, other_model, folder)
        await until(lambda: len(made.recommender.catalog) == 20)
        last = len(answered)
        await until(lambda: len(answered) > last + 10)
        stop = True
        await asyncio.gather(*clients)
        assert answered[0].startswith("kitchen")
        assert answered[-1].startswith("other")
        assert made.metrics.registry.get_sample_value("recformer_model_loads_total", {"result": "taken over"}) == 1

    with_service(service(folder, load=lambda: load_recommender(folder)), test)


def test_a_broken_checkpoint_is_not_taken_and_the_next_good_one_is(tmp_path):
    folder = copy_shop(tmp_path)

    async def test(made):
        def loads(result):
            return made.metrics.registry.get_sample_value("recformer_model_loads_total", {"result": result})

        (folder / "config.json").rename(tmp_path / "config.json")
        await until(lambda: loads("failed") == 1)
        await asyncio.sleep(0.1)  # it is not tried again
        assert loads("failed") == 1
        assert len((await made.recommend(ASK))["recommendations"][0]) == 2
        shutil.copy(tmp_path / "config.json", folder)
        await until(lambda: loads("taken over") == 1)

    with_service(service(folder, load=lambda: load_recommender(folder)), test)


def test_changes_outlive_a_takeover_and_reach_other_processes(tmp_path):
    folder = copy_shop(tmp_path)
    path = tmp_path / "changes"

    async def test(made):
        assert (await made.change({"new": {"title": "thing 99"}, IDS[3]: None}))["num_items"] == 60
        other_model(folder)
        await until(lambda: len(made.recommender.catalog) == 21)
        assert made.item("new")["attributes"] == {"title": "thing 99"}
        elsewhere = ChangeableItems(load_recommender(saved_shop() / "shop"), ItemsJournal(path))
        elsewhere.follow()
        assert "new" in elsewhere.recommender.catalog
        assert IDS[3] not in elsewhere.recommender.catalog
        with elsewhere.journal.locked():
            pass
        await asyncio.get_running_loop().run_in_executor(None, change_elsewhere, elsewhere)
        await until(lambda: "newer" in made.recommender.catalog)

    with_service(service(folder, ItemsJournal(path), lambda: load_recommender(folder)), test)


def change_elsewhere(elsewhere: ChangeableItems) -> None:
    from recformer_hf.serving.item_changes import Changes

    elsewhere.change([Changes({"newer": {"title": "thing 100"}})])


def test_a_disk_that_is_full_gets_507(tmp_path, monkeypatch):
    async def test(made):
        def fails(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(ItemsJournal, "append", fails)
        with pytest.raises(Problem) as caught:
            await made.change({"new": {"title": "x"}})
        assert caught.value.status == 507
        assert "new" not in made.recommender.catalog

    with_service(service(None, ItemsJournal(tmp_path / "changes")), test)


def test_explaining():
    async def test(made):
        history = [IDS[0], {"title": "A kettle"}]
        found = await made.explain(ExplainRequest(history=history, item=IDS[1]))
        expected = made.recommender.model.explain(history, made.recommender.tokenizer, IDS[1]).to_dict()
        assert found["score"] == pytest.approx(expected["score"], abs=1e-4)
        assert [each["item_id"] for each in found["items"]] == [each["item_id"] for each in expected["items"]]
        assert json.loads(json.dumps(found)) == found
        await made.explain(ExplainRequest(history=history, item={"title": "A mug"}, words=False, attributes=False))
        wrong = {
            "history[1]": ExplainRequest(history=[IDS[0], "nothing"]),
            "item": ExplainRequest(history=history, item="nothing"),
        }
        for field, request in wrong.items():
            with pytest.raises(Problem) as caught:
                await made.explain(request)
            assert caught.value.status == 422
            assert caught.value.errors[0]["field"] == field

    with_service(service(), test)
