"""recformer evaluate, from its command line to its files, on one process and on two, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from recformer_hf.baselines import NEURAL, Blend, Cooccurrence, Markov, SASRec, TextNeighbours
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.evaluation import Ranking, RecformerScorer, rank_split
from recformer_hf.memory.memory import Memory
from recformer_hf.modeling_recformer import RecformerForSeqRec
from recformer_hf.tokenization_recformer import RecformerTokenizer
from tests.support.models import enliven, small_config
from tests.support.training_processes import run_code

DATASET = load_demo_domain("kitchen", num_users=40, num_items=60)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """`shop`, and a checkpoint `model` with its catalogue; `other` is a shop of other items."""
    folder = tmp_path_factory.mktemp("evaluate")
    DATASET.save_to_disk(folder / "shop")
    load_demo_domain("garden", num_users=30, num_items=50).save_to_disk(folder / "other")
    tokenizer = RecformerTokenizer.train_from_catalog(list(DATASET.catalog), vocab_size=320)
    model = enliven(RecformerForSeqRec(small_config(vocab_size=len(tokenizer), max_token_num=tokenizer.max_token_num)))
    model.set_item_embeddings(model.encode_items(DATASET.catalog, tokenizer))
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    DATASET.catalog.save_pretrained(folder / "model")
    return folder


def failure(script, arguments: list[str]) -> str:
    """The one line that a failing run leaves on the screen."""
    with pytest.raises(SystemExit) as error:
        script.main(arguments)
    message = str(error.value)
    assert message.startswith("recformer evaluate: ")
    assert "\n" not in message
    return message


def test_a_table_and_files_of_every_scorer_and_protocol(script, folders, tmp_path, capsys) -> None:
    model, shop, output = (str(path) for path in (folders / "model", folders / "shop", tmp_path / "out"))
    run = ["--model", model, "--dataset", shop, "--baselines", "markov", "oracle", "--output_dir", output]
    script.main([*run, "--protocol", "both", "--ks", "5", "10"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{shop}, test: 40 users, ")
    assert lines[1].split()[:7] == ["scorer", "history", "ndcg@5", "recall@5", "ndcg@10", "recall@10", "mrr"]
    names = [f"{scorer}-{protocol}" for scorer in ("model", "markov", "oracle") for protocol in ("kept", "excluded")]
    assert ["-".join(line.split()[:2]) for line in lines[2:8]] == names
    results = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert list(results["rankings"]) == names
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        ["metrics.json", *(f"{name}.npz" for name in names)]
    )
    expected = rank_split(Markov().fit(DATASET), DATASET.test, exclude_history=True)
    assert Ranking.load(tmp_path / "out" / "markov-excluded.npz") == expected
    assert results["rankings"]["markov-excluded"]["overall"]["metrics"] == expected.metrics([5, 10])
    loaded = RecformerForSeqRec.from_pretrained(model)
    scorer = RecformerScorer(loaded, RecformerTokenizer.from_pretrained(model), DATASET.catalog)
    assert Ranking.load(tmp_path / "out" / "model-kept.npz") == rank_split(scorer, DATASET.test)


def test_baselines_that_count_and_compare_texts(script, folders, tmp_path) -> None:
    names = ["cooccurrence", "text_neighbours", "blend"]
    run = ["--dataset", str(folders / "shop"), "--baselines", *names, "--output_dir", str(tmp_path)]
    script.main(run)
    parts = [Cooccurrence(), Cooccurrence(directed=True), TextNeighbours()]
    for name, scorer in zip(names, [parts[0], parts[2], Blend(parts)], strict=True):
        assert Ranking.load(tmp_path / f"{name}-kept.npz") == rank_split(scorer.fit(DATASET), DATASET.test)


def test_compares_with_an_earlier_run(script, folders, tmp_path, capsys) -> None:
    shop, earlier = str(folders / "shop"), tmp_path / "earlier"
    script.main(["--dataset", shop, "--baselines", "popularity", "--exclude_history", "--output_dir", str(earlier)])
    assert [path.name for path in earlier.glob("*.npz")] == ["popularity-excluded.npz"]
    file = str(earlier / "popularity-excluded.npz")
    run = ["--dataset", shop, "--baselines", "popularity", "oracle", "--compare_with", file]
    script.main([*run, "--protocol", "both", "--output_dir", str(tmp_path / "later")])
    comparisons = json.loads((tmp_path / "later" / "metrics.json").read_text())["comparisons"]
    assert list(comparisons) == ["popularity-excluded", "oracle-excluded"]
    assert comparisons["popularity-excluded"]["p_value"] == 1
    assert comparisons["oracle-excluded"]["p_value"] < 0.05
    assert f"oracle-excluded minus {file}: ndcg@10 +0." in capsys.readouterr().out
    assert "under another protocol" in failure(script, run)


def test_another_catalogue_needs_encoding(script, folders, tmp_path) -> None:
    run = ["--model", str(folders / "model"), "--dataset", str(folders / "other")]
    message = failure(script, run)
    assert "it has 60 items, and 0 of the dataset's 50 ids are among them. Pass --encode_items" in message
    script.main([*run, "--encode_items", "--output_dir", str(tmp_path)])
    results = json.loads((tmp_path / "metrics.json").read_text())
    assert results["items_encoded_zero_shot"] is True
    assert results["rankings"]["model-kept"]["overall"]["users"] == 30


@pytest.mark.parametrize("zero_shot", [False, True])
def test_last_item_vectors_rank_by_cosine_to_the_last_item(script, folders, tmp_path, zero_shot: bool) -> None:
    shop = load_demo_domain("garden", num_users=30, num_items=50) if zero_shot else DATASET
    run = ["--model", str(folders / "model"), "--dataset", str(folders / ("other" if zero_shot else "shop"))]
    run += ["--baselines", "last_item_vectors", "--protocol", "both", "--output_dir", str(tmp_path)]
    script.main([*run, "--encode_items"] if zero_shot else run)
    model = RecformerForSeqRec.from_pretrained(folders / "model")
    tokenizer = RecformerTokenizer.from_pretrained(folders / "model")
    vectors = model.encode_items(shop.catalog, tokenizer) if zero_shot else model.item_embeddings.detach()
    histories = [shop.test.history(row) for row in range(len(shop.test))]
    last = [int(history[-1]) for history in histories]
    cosines = torch.nn.functional.cosine_similarity(vectors[last][:, None], vectors[None], dim=-1)
    kept, excluded = (Ranking.load(tmp_path / f"last_item_vectors-{each}.npz") for each in ("kept", "excluded"))
    assert kept.recommended[:, 0].tolist() == last  # an item is most similar to itself, as with last_item_text
    for row, history in enumerate(histories):
        cosines[row, history] = -torch.inf
    found = cosines.gather(1, torch.from_numpy(excluded.recommended).long())
    torch.testing.assert_close(found, cosines.topk(10).values, atol=1e-5, rtol=0)


def test_the_same_items_in_another_order_are_another_catalogue(script, folders, tmp_path) -> None:
    (tmp_path / "model").mkdir()
    for path in (folders / "model").iterdir():
        (tmp_path / "model" / path.name).write_bytes(path.read_bytes())
    run = ["--model", str(tmp_path / "model"), "--dataset", str(folders / "shop")]
    DATASET.catalog.select(range(59, -1, -1)).save_pretrained(tmp_path / "model")
    assert "60 of the dataset's 60 ids are among them, in another order" in failure(script, run)
    (tmp_path / "model" / "item_catalog.arrow").unlink()
    assert "60 item embeddings and no catalogue beside it" in failure(script, run)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to rank with"),
        (["--baselines", "bm25"], "No baseline bm25; there are popularity, markov, last_item_text, cooccurrence"),
        (["--baselines", "last_item_vectors"], "last_item_vectors compares the item vectors of a --model: give one"),
        (["--baselines", "markov", "--encode_items"], "--encode_items needs a --model"),
        (["--baselines", "oracle", "--split", "validation"], "The oracle's scores are of the test choice"),
        (["--baselines", "markov", "--exclude_history", "--protocol", "kept"], "contradict each other"),
        (["--baselines", "markov", "--ks", "0"], "expected different whole numbers of at least 1"),
        (["--baselines", "markov", "--compare_with", "absent.npz"], "absent.npz"),
    ],
)
def test_refuses_impossible_requests(script, folders, arguments: list[str], message: str) -> None:
    assert message in failure(script, ["--dataset", str(folders / "shop"), *arguments])


def test_refuses_a_missing_dataset(script) -> None:
    assert "no domain 'cars'" in failure(script, ["--dataset", "demo:cars", "--baselines", "markov"])


def test_two_processes_write_what_one_does(script, folders, tmp_path) -> None:
    run = ["--model", str(folders / "model"), "--dataset", str(folders / "shop"), "--baselines", "last_item_text"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # like the two processes: the number of threads changes the rounding of products
    script.main([*run, "--output_dir", str(tmp_path / "one")])
    torch.set_num_threads(threads)
    command = ["recformer", "evaluate", *run, "--output_dir", str(tmp_path / "two")]
    code = f"import runpy, sys; sys.argv = {command}; runpy.run_module('recformer_hf.cli', run_name='__main__')"
    run_code(code, 2, joined=False)
    assert (tmp_path / "two" / "metrics.json").read_text() == (tmp_path / "one" / "metrics.json").read_text()
    for name in ("model-kept.npz", "last_item_text-kept.npz"):
        assert Ranking.load(tmp_path / "two" / name) == Ranking.load(tmp_path / "one" / name)


def test_ranks_with_and_without_the_memory(script, folders, tmp_path) -> None:
    model = RecformerForSeqRec.from_pretrained(folders / "model")
    train = DATASET.train
    model.memory = Memory.fit(train.items, train.offsets, len(DATASET.catalog), vectors=model.item_embeddings)
    model.save_pretrained(tmp_path / "model")
    RecformerTokenizer.from_pretrained(folders / "model").save_pretrained(tmp_path / "model")
    common = ["--dataset", str(folders / "shop")]
    script.main([
        *common, "--model", str(tmp_path / "model"), "--without_memory", "true", "--output_dir", str(tmp_path / "both")
    ])  # fmt: skip
    script.main([*common, "--model", str(folders / "model"), "--output_dir", str(tmp_path / "alone")])
    alone = Ranking.load(tmp_path / "alone/model-kept.npz")
    assert Ranking.load(tmp_path / "both/model_without_memory-kept.npz") == alone
    assert Ranking.load(tmp_path / "both/model-kept.npz") != alone
    message = failure(script, [*common, "--model", str(folders / "model"), "--without_memory", "true"])
    assert "there is none" in message


def test_neural_baselines_are_known_by_name_and_by_their_folders(script, folders, tmp_path, capsys) -> None:
    shop = str(folders / "shop")
    model = SASRec(hidden_size=16, num_layers=1).fit(DATASET, num_train_epochs=1, use_cpu=True)
    model.save_pretrained(tmp_path / "sasrec")
    script.main(["--model", str(tmp_path / "sasrec"), "--dataset", shop, "--baselines", "markov", "--ks", "10"])
    row = capsys.readouterr().out.splitlines()[2].split()
    assert row[:3] == ["model", "kept", f"{rank_split(model, DATASET.test).metrics()['ndcg@10']:.4f}"]
    assert set(NEURAL) < set(script.BASELINES)
    assert script.BASELINES["sasrec"] is SASRec
    wrong = ["--model", str(tmp_path / "sasrec"), "--dataset"]
    assert "has another catalogue" in failure(script, [*wrong, str(folders / "other")])
    assert "--encode_items encodes texts with a Recformer" in failure(script, [*wrong, shop, "--encode_items"])
    assert "there is none" in failure(script, [*wrong, shop, "--without_memory"])
