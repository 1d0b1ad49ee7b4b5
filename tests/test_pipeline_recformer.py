"""The pipeline "sequential-recommendation": what may be asked, in which forms, and what is answered."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.version import Version
from transformers import pipeline
from transformers.dynamic_module_utils import get_relative_import_files, get_relative_imports
from transformers.pipelines.pt_utils import KeyDataset

import recformer_hf
from recformer_hf import (
    RecformerForPretraining,
    RecformerForSeqRec,
    RecformerTokenizer,
    SequentialRecommendationPipeline,
    UnknownItemError,
)
from tests.support.bare_python import run_without
from tests.support.heads import HEADS, trained
from tests.support.memories import some_memory
from tests.support.models import enliven, small_config

TASK = "sequential-recommendation"
ITEMS = {
    f"{colour}-{thing}": {"title": f"{colour} {thing}", "brand": brand}
    for colour, brand in (("red", "Acme"), ("green", "Nordby"), ("blue", "Lumen"))
    for thing in ("kettle", "mug", "spade", "tent")
}
HISTORY = ["red-mug", {"title": "green spade", "brand": "Nordby"}]


@pytest.fixture(scope="module")
def tokenizer() -> RecformerTokenizer:
    return RecformerTokenizer.train_from_catalog(ITEMS.values(), vocab_size=300)


@pytest.fixture(scope="module")
def model(tokenizer) -> RecformerForSeqRec:
    encoder = enliven(RecformerForSeqRec(small_config(num_hidden_layers=2, hidden_size=32))).eval()
    return encoder.with_catalog(ITEMS, tokenizer)


@pytest.fixture(scope="module")
def recommender(model, tokenizer) -> SequentialRecommendationPipeline:
    return pipeline(TASK, model=model, tokenizer=tokenizer, device="cpu")


@pytest.fixture(scope="module")
def folder(model, tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def ids(answer) -> list[str]:
    return [item["item_id"] for item in answer]


class TestForms:
    def test_from_a_folder(self, folder, recommender):
        loaded = pipeline(TASK, model=str(folder), device="cpu")
        assert isinstance(loaded, SequentialRecommendationPipeline)
        assert ids(loaded(HISTORY)) == ids(recommender(HISTORY))

    def test_one_history(self, recommender, model, tokenizer):
        answer = recommender(HISTORY, top_k=4)
        assert answer == model.recommend([HISTORY], tokenizer, 4).to_dicts()[0]
        assert set(answer[0]) == {"item_id", "score", "attributes"}
        assert answer[0]["attributes"] == ITEMS[answer[0]["item_id"]]
        assert not {"red-mug", "green-spade"} & set(ids(answer))
        json.dumps(answer)

    @pytest.mark.parametrize("entry", ["red-mug", {"title": "red mug", "brand": "Acme"}])
    def test_one_entry_is_a_history_of_one(self, recommender, entry):
        assert recommender(entry, top_k=11) == recommender([entry], top_k=11)
        assert "red-mug" not in ids(recommender(entry, top_k=11))

    def test_a_batch(self, recommender):
        histories = [["red-mug"], HISTORY, ["blue-tent"] * 3]
        answers = recommender(histories, top_k=3)
        assert [ids(answer) for answer in answers] == [ids(recommender(history, top_k=3)) for history in histories]
        assert recommender(tuple(tuple(history) for history in histories), top_k=3) == answers

    def test_arrays_of_ids(self, recommender):
        assert recommender(np.array(["red-mug", "blue-tent"])) == recommender(["red-mug", "blue-tent"])
        assert recommender([np.array(["red-mug", "blue-tent"])]) == [recommender(["red-mug", "blue-tent"])]

    def test_an_item_that_looks_like_a_chat_message(self, recommender):
        """transformers' pipelines take lists of role and content for a conversation."""
        assert len(recommender([{"role": "garden tool", "content": "one spade"}], top_k=2)) == 2

    @pytest.mark.parametrize("batch_size", [None, 1, 3])
    def test_a_generator_streams(self, recommender, batch_size):
        read = []

        def histories():
            for item_id in list(ITEMS)[:5]:
                read.append(item_id)
                yield [item_id]

        answers = recommender(histories(), top_k=2, batch_size=batch_size)
        assert read == []
        first = next(answers)
        assert len(read) == (batch_size or 1)
        assert [ids(first), *map(ids, answers)] == [ids(recommender([i], top_k=2)) for i in list(ITEMS)[:5]]

    def test_a_torch_dataset(self, recommender):
        answers = recommender(KeyDataset([{"past": ["red-mug"]}, {"past": HISTORY}], "past"))
        assert list(answers) == [recommender(["red-mug"]), recommender(HISTORY)]

    def test_a_stream_says_which_history_is_wrong(self, recommender):
        answers = recommender(iter([["red-mug"], ["red-mug"], ["red-mug", "grey-mug"]]), batch_size=2)
        next(answers), next(answers)
        with pytest.raises(UnknownItemError, match="Item 1 of history 2 is unknown"):
            next(answers)

    def test_options_for_the_call_and_for_all_calls(self, model, tokenizer, recommender):
        candidates = ["red-mug", "red-tent", "blue-mug", "green-mug"]
        options = {"top_k": 2, "candidates": candidates, "exclude": ["blue-mug"]}
        answer = recommender(["red-mug"], **options)
        assert set(ids(answer)) == {"red-tent", "green-mug"}
        always = SequentialRecommendationPipeline(model=model, tokenizer=tokenizer, device="cpu", **options)
        assert always(["red-mug"]) == answer
        assert len(always(["red-mug"], top_k=1)) == 1
        assert "red-mug" in ids(always(["red-mug"], exclude_history=False))

    def test_half_precision(self, folder, recommender):
        half = pipeline(TASK, model=str(folder), dtype=torch.bfloat16, device="cpu")
        assert half.model.dtype == torch.bfloat16
        assert len(half(HISTORY)) == 10

    def test_saving_it(self, recommender, tmp_path):
        recommender.save_pretrained(tmp_path)
        assert "custom_pipelines" not in json.loads((tmp_path / "config.json").read_text())
        assert ids(pipeline(TASK, model=str(tmp_path), device="cpu")(HISTORY)) == ids(recommender(HISTORY))

    def test_importing_again_registers_once(self, caplog):
        import importlib

        importlib.reload(recformer_hf)
        assert "already registered" not in caplog.text


class TestBadInput:
    @pytest.mark.parametrize(
        ("histories", "options", "error", "message"),
        [
            ([], {}, ValueError, "The history is empty"),
            ([["red-mug"], []], {}, ValueError, "History 1 is empty"),
            (
                ["red-mugs"],
                {},
                UnknownItemError,
                "Item 0 of the history is unknown: .*'red-mugs'.*Closest: 'red-mug'",
            ),
            (None, {}, TypeError, "Expected a history .*got a NoneType"),
            (3.5, {}, TypeError, "got a float"),
            (b"red", {}, TypeError, "got a bytes"),
            ([None], {}, TypeError, "Item 0 of the history is a NoneType"),
            (
                {"0" * 3000: 10**5000},
                {},
                TypeError,
                r"^.{0,50} value of type int under '0+\.\.\.0+': a value of type int that .{0,200}$",
            ),
            ({10**5000: "x"}, {}, TypeError, "has the key a value of type int that cannot be shown of type int"),
            ([["red-mug"], "red-mug"], {}, TypeError, "History 1 is a str"),
            (["red-mug"], {"top_k": 12}, ValueError, "top_k is 12, but only 11 of 12 items are left"),
            (["red-mug"], {"topk": 3}, TypeError, "This pipeline has no option topk; it has top_k"),
            (["red-mug"], {"batch_size": 0}, ValueError, "batch_size must be a whole number"),
        ],
    )
    def test_named_errors(self, recommender, histories, options, error, message):
        with pytest.raises(error, match=message):
            recommender(histories, **options)

    def test_a_model_without_items(self, tokenizer):
        empty = RecformerForSeqRec(small_config())
        recommender = pipeline(TASK, model=empty, tokenizer=tokenizer, device="cpu")
        with pytest.raises(ValueError, match=r"no items to score.*with_catalog"):
            recommender([{"title": "mug"}])

    def test_a_model_that_does_not_recommend(self, tokenizer):
        model = RecformerForPretraining(small_config())
        recommender = SequentialRecommendationPipeline(model=model, tokenizer=tokenizer, device="cpu")
        with pytest.raises(TypeError, match="Expected a RecformerForSeqRec, got a RecformerForPretraining"):
            recommender([{"title": "mug"}])

    def test_without_a_tokenizer(self, model):
        recommender = SequentialRecommendationPipeline(model=model, device="cpu")
        with pytest.raises(ValueError, match=r"has no tokenizer.*beside the model"):
            recommender(["red-mug"])


SPECIALS = ["<s>", "</s>", "<pad>", "<mask>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = st.one_of(
    st.text(max_size=30),  # every character there is, control characters and right-to-left text among them
    st.sampled_from(
        [*SPECIALS, "\x00\x1b[31m", "👩‍👩‍👧‍👦🏳️‍🌈", "مرحبا بالعالم", "שלום", "\u202eabc", "\ud800", "e\u0301" * 9]
    ),
    st.tuples(st.sampled_from(SPECIALS), st.text(max_size=9)).map(" ".join),
    st.builds(lambda text, times: text * times, st.text(min_size=1, max_size=4), st.sampled_from([3000, 30000])),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.binary(max_size=9),
    st.just(0).map(lambda _: 10**5000),
    st.complex_numbers(),
)
VALUES = st.one_of(TEXTS, SCALARS, st.lists(TEXTS | SCALARS, max_size=3), st.dictionaries(TEXTS, TEXTS, max_size=2))
ENTRIES = st.one_of(
    st.sampled_from(list(ITEMS)),
    st.dictionaries(TEXTS, TEXTS, min_size=1, max_size=4),
    st.dictionaries(TEXTS | SCALARS, VALUES, max_size=4),
    TEXTS,
    SCALARS,
)
GOOD_ENTRIES = st.sampled_from(list(ITEMS)) | st.dictionaries(TEXTS, TEXTS, min_size=1, max_size=4)
INPUTS = st.one_of(
    st.lists(GOOD_ENTRIES, min_size=1, max_size=6),
    st.lists(st.lists(GOOD_ENTRIES, min_size=1, max_size=3), min_size=1, max_size=3),
    st.lists(ENTRIES, max_size=4),
    st.lists(st.lists(ENTRIES, max_size=3) | ENTRIES, max_size=3),
    st.recursive(ENTRIES, lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner), max_leaves=5),
    st.sets(TEXTS, max_size=2),
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "top_k": st.integers(1, 8) | st.integers() | SCALARS,
        "exclude_history": st.booleans(),
        "candidates": st.none() | st.lists(st.sampled_from(list(ITEMS)), max_size=12) | ENTRIES,
        "exclude": st.none() | st.lists(st.sampled_from(list(ITEMS)) | ENTRIES, max_size=3),
    },
)


def check_any_input(recommender, inputs, options) -> bool:
    """Recommendations, or an error of ours; returns whether it was the former."""
    raised: Exception | None = None
    try:
        answer = recommender(inputs, **options)
        answer = answer if isinstance(answer, list) else list(answer)
    except (TypeError, ValueError, UnknownItemError) as error:
        raised = error
    if raised is not None:
        assert type(raised) in (TypeError, ValueError, UnknownItemError)
        assert 20 < len(str(raised)) < 2000
        str(raised).encode()
        return False
    for item in answer if not answer or isinstance(answer[0], dict) else [item for items in answer for item in items]:
        assert item["attributes"] == ITEMS[item["item_id"]]
        assert -20.001 <= item["score"] <= 20.001
    return True


class TestAnyInput:
    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(inputs=INPUTS, options=OPTIONS)
    def test_recommendations_or_a_named_error(self, recommender, inputs, options):
        check_any_input(recommender, inputs, options)

    @pytest.mark.slow
    def test_ten_thousand(self, recommender):
        answered = []

        @settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(inputs=INPUTS, options=OPTIONS)
        def run(inputs, options):
            answered.append(check_any_input(recommender, inputs, options))

        run()
        assert len(answered) >= 10_000
        assert sum(answered) > 1_000  # and not errors only

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.dictionaries(TEXTS, TEXTS | st.sampled_from(SPECIALS), min_size=1, max_size=4), min_size=1))
    def test_special_tokens_in_text_stay_text(self, tokenizer, model, history):
        try:
            encoded = tokenizer(history)["input_ids"]
        except ValueError:
            return
        assert encoded[0] == tokenizer.bos_token_id
        assert not set(encoded[1:]) & set(tokenizer.all_special_ids)

    @pytest.mark.parametrize("text", ["<s>", "<mask> <pad>", "a </s> b"])
    def test_recommending_for_special_tokens(self, recommender, text):
        plain = recommender([{"title": f"red mug {text}"}], exclude_history=False)
        assert len(plain) == 10
        assert plain != recommender([{"title": "red mug"}], exclude_history=False)


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("parts", HEADS)
class TestHeads:
    """What a model of any head recommends survives whatever may happen to the model."""

    HISTORIES = [HISTORY, ["blue-tent"], ["red-mug", "red-mug", "green-tent"]]

    def answers(self, model, tokenizer):
        found = model.recommend(self.HISTORIES, tokenizer, 6, exclude_history=False)
        return found.item_ids, found.scores

    def test_saved_and_loaded(self, tokenizer, tmp_path, parts, memory):
        model = trained(ITEMS, tokenizer, parts)
        model.memory = some_memory(12) if memory else None
        recommender = pipeline(TASK, model=model, tokenizer=tokenizer, device="cpu")
        recommender.save_pretrained(tmp_path)
        loaded = pipeline(TASK, model=str(tmp_path), device="cpu")
        expected = self.answers(model, tokenizer)
        for each in (recommender, loaded):
            found = each(self.HISTORIES, top_k=6, exclude_history=False)
            assert [ids(answer) for answer in found] == expected[0]
            assert [[item["score"] for item in answer] for answer in found] == expected[1].tolist()

    def test_copies(self, tokenizer, parts, memory):
        model = trained(ITEMS, tokenizer, parts)
        model.memory = some_memory(12) if memory else None
        names, scores = self.answers(model, tokenizer)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            found = self.answers(other, tokenizer)
            assert found[0] == names
            assert torch.equal(found[1], scores)
            for weight in other.parameters():
                weight.data.zero_()
        assert torch.equal(self.answers(model, tokenizer)[1], scores)

    def test_half_precision_is_for_the_encoder_alone(self, tokenizer, tmp_path, parts, memory):
        model = trained(ITEMS, tokenizer, parts)
        model.memory = some_memory(12) if memory else None
        model.save_pretrained(tmp_path)
        half = RecformerForSeqRec.from_pretrained(tmp_path, dtype=torch.bfloat16)
        assert half.recformer.dtype == torch.bfloat16
        assert {weight.dtype for name, weight in half.named_parameters() if "recformer." not in name} == {torch.float32}
        assert torch.equal(half.item_vectors, model.item_vectors)
        found = half.recommend([["red-mug", "green-tent"]], tokenizer, 6, exclude_history=False)
        expected = model.recommend([["red-mug", "green-tent"]], tokenizer, 12, exclude_history=False)
        if model.config.sequence_head == "two_level":  # it reads nothing but float32
            assert torch.equal(found.scores, expected.scores[:, :6])
        else:
            scores = dict(zip(expected.rows[0].tolist(), expected.scores[0].tolist(), strict=True))
            near = torch.tensor([scores[row] for row in found.rows[0].tolist()])
            torch.testing.assert_close(found.scores[0], near, atol=0.6, rtol=0)


class TestCodeOnTheSide:
    def test_every_file_is_imported_by_each_entry_module_itself(self, model, tmp_path):
        """Older transformers copy a module's own imports, not theirs in turn."""
        model.save_pretrained(tmp_path, with_code=True)
        for name in ("modeling_recformer.py", "pipeline_recformer.py"):
            direct = {f"{module}.py" for module in get_relative_imports(tmp_path / name)}
            assert {Path(file).name for file in get_relative_import_files(tmp_path / name)} == direct

    @pytest.mark.parametrize("trust", [None, False, True])
    def test_where_the_package_is_installed_its_own_code_runs(self, model, tokenizer, recommender, tmp_path, trust):
        for part in (model, tokenizer):
            part.save_pretrained(tmp_path, with_code=True)
        assert "custom_pipelines" in json.loads((tmp_path / "config.json").read_text())
        loaded = pipeline(TASK, model=str(tmp_path), trust_remote_code=trust, device="cpu")
        if trust and Version(transformers.__version__) < Version("5.23"):  # they run code where it is trusted
            assert type(loaded).__name__ == "SequentialRecommendationPipeline"
            assert type(loaded.model).__name__ == "RecformerForSeqRec"
        else:
            assert type(loaded) is SequentialRecommendationPipeline
            assert type(loaded.model) is RecformerForSeqRec
        assert ids(loaded(HISTORY)) == ids(recommender(HISTORY))

    def test_works_where_the_package_is_not_installed(self, tokenizer, tmp_path):
        scripts, recommenders = {}, {}
        for parts in ("paper", "flat", "narrow"):
            model = trained(ITEMS, tokenizer, parts)
            model.memory = None if parts == "paper" else some_memory(12)
            recommenders[parts] = pipeline(TASK, model=model, tokenizer=tokenizer, device="cpu")
            folder, again = tmp_path / parts, tmp_path / f"{parts}-again"
            model.save_pretrained(folder, with_code=True)
            tokenizer.save_pretrained(folder, with_code=True)
            scripts[f"recommend-{parts}"] = f"""
                import json
                from transformers import pipeline

                recommender = pipeline({TASK!r}, model={str(folder)!r}, trust_remote_code=True, device="cpu")
                with open({f"{folder}.json"!r}, "w") as file:
                    json.dump([recommender({HISTORY!r}), recommender([["blue-tent"]], top_k=2)], file)
                recommender.save_pretrained({str(again)!r})
                again = pipeline({TASK!r}, model={str(again)!r}, trust_remote_code=True, device="cpu")
                assert again({HISTORY!r})[0]["item_id"] == recommender({HISTORY!r})[0]["item_id"]
                assert type(again).__module__.startswith("transformers_modules")
            """
        run_without(["recformer_hf", "faiss", "polars", "datasets"], scripts, tmp_path)
        for parts, recommender in recommenders.items():
            one, batch = json.loads((tmp_path / f"{parts}.json").read_text())
            assert ids(one) == ids(recommender(HISTORY))
            assert ids(batch[0]) == ids(recommender(["blue-tent"], top_k=2))


class TestColumnsAndArrays:
    HISTORY = list(ITEMS)[:2]

    @pytest.mark.parametrize("kind", ["numpy", "objects", "pandas", "polars", "Arrow", "chunked"])
    def test_one_history_or_several(self, recommender, kind):
        """Of items it is a history; of lists a stream of histories."""
        pandas, polars, arrow = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
        column = {
            "numpy": np.array,
            "objects": lambda values: pandas.Series(values).to_numpy(object),
            "pandas": pandas.Series,
            "polars": polars.Series,
            "Arrow": arrow.array,
            "chunked": lambda values: arrow.chunked_array([values]),
        }[kind]
        expected = recommender(self.HISTORY, top_k=2)
        assert recommender(column(self.HISTORY), top_k=2) == expected
        assert list(recommender(column([self.HISTORY, self.HISTORY]), top_k=2, batch_size=2)) == [expected] * 2

    def test_what_was_recommended_is_a_history(self, recommender):
        expected = recommender(self.HISTORY, top_k=3)
        assert recommender(expected, top_k=2) == recommender(ids(expected), top_k=2)
        assert recommender(expected[0], top_k=2) == recommender(ids(expected)[:1], top_k=2)

    def test_tables_and_sets(self, recommender):
        pandas = pytest.importorskip("pandas")
        with pytest.raises(TypeError, match=r"got a DataFrame\. Pass one column of it, such as frame\['history'\]"):
            recommender(pandas.DataFrame({"history": [self.HISTORY]}))
        with pytest.raises(TypeError, match="got a set, which has no order"):
            recommender(set(self.HISTORY))
