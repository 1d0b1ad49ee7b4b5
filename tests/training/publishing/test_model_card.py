"""The card: metadata that the Hub reads, numbers that are those of the run, and code in it that runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

from recformer_hf import RecformerForPretraining
from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.training import RecformerPretrainingArguments, RecformerPretrainingTrainer
from recformer_hf.training.publishing.card_text import item_text, metric_title
from tests.support.publishing import finished_run
from tests.support.training import small_dataset, small_model, small_tokenizer, small_trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("runs") / "shop")


@pytest.fixture(scope="module")
def card(run) -> ModelCard:
    return ModelCard.load(Path(run.args.output_dir, "README.md"))


def code_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


class TestFinetuned:
    def test_metadata_hold_the_metrics_of_both_protocols(self, run, card):
        found = {(result.metric_type, result.metric_name): result.metric_value for result in card.data.eval_results}
        for protocol in ("history_kept", "history_excluded"):
            for name, value in run.metrics["test"][protocol]["overall"]["metrics"].items():
                key = (name, f"{metric_title(name)} ({protocol.replace('_', ' ')})")
                assert found.pop(key) == pytest.approx(value, abs=1e-6)
        assert not found
        assert {result.dataset_split for result in card.data.eval_results} == {"test"}
        assert card.data.library_name == "transformers"
        assert "sequential-recommendation" in card.data.tags
        assert card.data.license is None  # nobody gave one
        assert card.data.datasets is None

    def test_metrics_stand_with_their_intervals_by_kind_of_target(self, run, card):
        report = run.metrics["test"]["history_kept"]
        for kind in ("overall", "in_set", "cold"):
            value, (low, high) = (report[kind][what]["ndcg@10"] for what in ("metrics", "intervals"))
            assert f"{value:.4f} [{low:.4f}, {high:.4f}]" in card.text
            assert low <= value <= high

    def test_says_that_the_dataset_is_invented(self, card):
        assert "**Invented data.**" in card.text
        assert "demo-shop-kitchen" in card.text

    def test_has_the_dataset_the_protocol_and_the_stages(self, card):
        counts = small_dataset().statistics
        assert f"| {counts['users']:,} | {counts['items']:,} | {counts['interactions']:,} |" in card.text
        assert small_dataset().info["protocol"] in card.text
        assert "the mean of their places" in card.text
        assert "| 1 | reencode | none | 0.001 | 1 | 5 | 6 |" in card.text
        assert "| 2 | frozen | none | 0.001 | 1 | 3 | 6 |" in card.text
        settings = dict(re.findall(r"^\| `(\w+)` \| `(.*)` \|$", card.text, re.MULTILINE))
        assert settings == {
            "batch": "8 users per process", "processes": "1", "seed": "42", "recipe": "paper", "weight_decay": "0.01",
            "eval_batch_tokens": "4096", "ranking_ks": "[10]",
        }  # fmt: skip

    def test_names_the_parts_of_a_head_that_learns(self, tmp_path):
        trainer = small_trainer(tmp_path / "run", recipe="hybrid", max_steps=1)
        trainer.train()
        trainer.finish()
        text = (tmp_path / "run/README.md").read_text("utf-8")
        assert "a user's history as the sequence of its items' vectors" in text
        settings = dict(re.findall(r"^\| `(\w+)` \| `(.*)` \|$", text, re.MULTILINE))
        expected = {"recipe": "hybrid", "sequence_head": "two_level", "item_residuals": "True", "history_bias": "True"}
        assert expected.items() <= settings.items()

    def test_names_no_path_of_this_machine(self, run, card):
        parent = str(Path(run.args.output_dir).parent)
        assert parent not in str(card)
        assert not re.search(r"[\s`(](/\w|[A-Z]:\\)", card.text)

    def test_its_code_gives_its_example(self, run, card, monkeypatch):
        monkeypatch.chdir(Path(run.args.output_dir).parent)
        names: dict = {}
        found = []
        for block in code_blocks(card.text):
            exec(block, names)
            found.append(names["recommended"])
        catalog = small_dataset().catalog
        by_pipeline = [each["item_id"] for each in found[0]]
        scores = [names["scores"][catalog.rows_of(found_ids).tolist()] for found_ids in (by_pipeline, found[1])]
        # Item by item, but for rounding: the pipeline may take items of the same score in another order.
        torch.testing.assert_close(*scores, rtol=0, atol=1e-4)
        section = card.text.split("## Example")[1].split("## ")[0]
        had, top = section.split("Top 10")
        places = re.findall(r"^\d+\. (.*?)(?: \*\*\(what came next\)\*\*)?$", top, re.MULTILINE)
        assert places == [item_text(catalog[catalog.row_of(item)]) for item in by_pipeline]
        assert re.findall(r"^\d+\. (.*)$", had, re.MULTILINE) == [
            item_text(catalog[catalog.row_of(item)]) for item in names["history"]
        ]

    def test_says_what_it_was_finetuned_from_only_if_that_can_be_found(self, run, monkeypatch):
        path = Path(run.args.output_dir, "README.md")
        for base, known in (("someone/recformer-base", True), ("/home/me/warm", False), ("", False)):
            monkeypatch.setattr(run.model.config, "_name_or_path", base)
            run.create_model_card()
            assert ModelCard.load(path).data.base_model == (base if known else None)
            assert (f"from [`{base}`]" in path.read_text("utf-8")) == known
        monkeypatch.undo()
        run.create_model_card()

    def test_takes_the_license_of_its_dataset(self, run, monkeypatch):
        monkeypatch.setitem(run.datasets[0].info, "license", "cc-by-4.0")
        run.create_model_card()
        path = Path(run.args.output_dir, "README.md")
        assert ModelCard.load(path).data.license == "cc-by-4.0"
        run.create_model_card(license="mit")
        assert ModelCard.load(path).data.license == "mit"
        monkeypatch.undo()
        run.create_model_card()


class TestPretrained:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory) -> Path:
        folder = tmp_path_factory.mktemp("runs") / "encoder"
        shops = [load_demo_domain(name, num_users=24, num_items=50) for name in ("garden", "music", "outdoor")]
        model = RecformerForPretraining(small_model().config)
        model.config.num_items = 0
        args = RecformerPretrainingArguments(
            output_dir=str(folder), num_train_epochs=1, per_device_train_batch_size=16, use_cpu=True, disable_tqdm=True,
            report_to="none", logging_steps=1, ranking_ks=[10],
        )  # fmt: skip
        trainer = RecformerPretrainingTrainer(
            model, args, train_datasets=shops[:2], eval_dataset=shops[2], processing_class=small_tokenizer(),
            zero_shot_datasets={"kitchen": small_dataset()},
        )  # fmt: skip
        trainer.train()
        trainer.finish()
        return folder

    def test_tells_of_all_its_shops_and_of_what_it_was_validated_on(self, folder):
        card = ModelCard.load(folder / "README.md")
        for name in ("garden", "music"):
            assert f"| demo-shop-{name} | 24 | 50 |" in card.text
        assert "Validation on demo-shop-outdoor" in card.text
        assert "| kitchen\\_ndcg@10 | 0." in card.text
        assert "nothing finetuned, history kept, at the first" in card.text
        metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
        assert metrics["zero_shot_protocol"] == {"exclude_history": False, "ties": "average"}
        assert "no real product" in card.text
        assert card.data.eval_results is None
        assert "has no items of its own" in card.text

    def test_its_code_recommends_from_any_catalogue(self, folder, monkeypatch):
        monkeypatch.chdir(folder.parent)
        names: dict = {"items": small_dataset().catalog}
        (block,) = code_blocks(ModelCard.load(folder / "README.md").text)
        exec(block, names)
        assert names["model"].config.num_items == len(small_dataset().catalog)


def test_a_dataset_that_says_nothing_of_itself(tmp_path):
    shop = small_dataset()
    silent = SequentialDataset(shop.catalog, shop.train, shop.validation, None, {})
    trainer = small_trainer(tmp_path / "run", trainer_train_dataset=silent, num_train_epochs=1, skip_stage2=True)
    trainer.train()
    metrics = trainer.finish()
    text = (tmp_path / "run" / "README.md").read_text("utf-8")
    assert "test" not in metrics
    assert "Source: not stated. Split: not stated." in text
    assert "no test split" in text
    assert "Invented" not in text
