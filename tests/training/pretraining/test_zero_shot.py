"""Zero-shot ranking: with the weights as they are, in rows that a resumed run continues."""

from __future__ import annotations

from pathlib import Path

import pytest

from recformer_hf.evaluation.ranking import rank_split
from recformer_hf.evaluation.recformer_scorer import RecformerScorer
from recformer_hf.modeling_recformer import RecformerForSeqRec
from recformer_hf.training.pretraining.zero_shot import ZeroShotLog, scoring_head, without_users
from tests.support.pretraining import domain, entries, pretraining_trainer, tokenizer


class TestRanking:
    def test_every_evaluation_is_a_row_step_0_included(self, finished):
        rows = finished.zero_shot_log.rows
        assert [row["step"] for row in rows] == [0, 2, 4, 6, 8, 10]
        logged = {entry["step"]: entry["eval_kitchen_ndcg@10"] for entry in entries(finished, "eval_kitchen_ndcg@10")}
        assert {row["step"]: row["kitchen_ndcg@10"] for row in rows} == logged
        assert Path(finished.args.output_dir, "zero_shot.png").read_bytes().startswith(b"\x89PNG")

    def test_it_is_the_ranking_of_a_recommender_with_these_weights(self, finished):
        model, kitchen = finished.model.eval(), domain("kitchen", 20)
        recommender = RecformerForSeqRec(model.config)
        recommender.recformer.load_state_dict(model.recformer.state_dict())
        recommender.set_item_embeddings(recommender.encode_items(kitchen.catalog, tokenizer()))
        scorer = RecformerScorer(recommender.eval(), tokenizer(), kitchen.catalog)
        expected = rank_split(scorer.fit(kitchen), kitchen.validation).metrics((10,))
        measured = finished.evaluate()
        for name, value in expected.items():
            assert measured[f"eval_kitchen_{name}"] == pytest.approx(value, abs=1e-6), name

    def test_the_encoder_is_shared_and_stays_as_it_was(self, finished):
        encoder = finished.model.recformer.train()
        head = scoring_head(encoder, 3)
        assert head.recformer is encoder
        assert head.item_embeddings.shape == (3, encoder.config.hidden_size)
        assert not head.item_embeddings.requires_grad
        assert encoder.config.num_items == 0
        finished.evaluate()
        assert encoder.training

    def test_both_splits_and_a_sample_of_users(self, tmp_path):
        trainer = pretraining_trainer(
            tmp_path, zero_shot_splits=["validation", "test"], zero_shot_max_users=5, exclude_history=True,
            trainer_zero_shot_datasets={"kitchen": domain("kitchen", 20)}, trainer_eval_dataset=None,
        )  # fmt: skip
        (target,) = trainer.eval_dataset.targets
        assert {name: len(split) for name, split in target.splits.items()} == {"kitchen": 5, "kitchen_test": 5}
        metrics = trainer.evaluate()
        assert {"eval_kitchen_ndcg@10", "eval_kitchen_test_ndcg@10"} <= metrics.keys()
        assert not {"eval_loss", "eval_accuracy"} & metrics.keys()
        assert not Path(tmp_path, "zero_shot.jsonl").exists()  # rows are of training

    def test_a_row_that_comes_again_replaces_what_came_after(self, tmp_path):
        log = ZeroShotLog(tmp_path, "kept")
        assert log.rows == []
        for step, value in [(0, 0.1), (5, 0.2), (10, 0.3), (5, 0.4)]:
            log.write(step, step / 5, {"kitchen_ndcg@10": value})
        assert [(row["step"], row["kitchen_ndcg@10"]) for row in log.rows] == [(0, 0.1), (5, 0.4)]

    def test_rows_of_another_protocol_are_not_its_own(self, tmp_path):
        kept, excluded = ZeroShotLog(tmp_path, "kept"), ZeroShotLog(tmp_path, "excluded")
        for log, step in [(kept, 0), (kept, 5), (kept, 10), (excluded, 10), (excluded, 15)]:
            log.write(step, step / 5, {"kitchen_ndcg@10": 0.1})
        assert [[row["step"] for row in log.rows] for log in (kept, excluded)] == [[0, 5], [10, 15]]

    def test_the_picture_of_zero_shot_ranking_has_its_protocol(self, finished, tmp_path):
        pytest.importorskip("matplotlib")
        folder = Path(finished.args.output_dir)
        rows = (folder / "zero_shot.jsonl").read_text()
        pictures = []
        for history in ("kept", "excluded"):
            (tmp_path / "zero_shot.jsonl").write_text(rows.replace('"kept"', f'"{history}"'))
            ZeroShotLog(tmp_path, history).plot("ndcg@10")
            pictures.append((tmp_path / "zero_shot.png").read_bytes())
        assert (folder / "zero_shot.png").read_bytes() == pictures[0] != pictures[1]


class TestTargets:
    def test_a_target_without_the_split(self, tmp_path):
        kitchen = domain("kitchen", 20)
        no_test = type(kitchen)(kitchen.catalog, kitchen.train, kitchen.validation, None, kitchen.info)
        with pytest.raises(ValueError, match="'kitchen' has no test split"):
            pretraining_trainer(tmp_path, zero_shot_splits=["test"], trainer_zero_shot_datasets={"kitchen": no_test})

    def test_a_target_without_a_proper_name(self, tmp_path):
        with pytest.raises(ValueError, match="needs a name of letters"):
            pretraining_trainer(tmp_path, trainer_zero_shot_datasets={"my_kitchen": domain("kitchen", 20)})


def test_users_of_a_target_can_be_left_out():
    garden, other = domain("garden"), domain("garden", 10)
    kept = without_users(garden, [other])
    assert len(kept.train) == 30
    assert not set(kept.train.user_ids.to_pylist()) & set(other.test.user_ids.to_pylist())
    assert {len(split) for split in kept.splits.values()} == {30}
    assert without_users(garden, []) is garden
    with pytest.raises(ValueError, match="nothing is left"):
        without_users(other, [garden])
