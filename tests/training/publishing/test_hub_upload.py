"""What of a finished run reaches the Hub."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard, constants, snapshot_download

from recformer_hf import ItemCatalog, RecformerForSeqRec, RecformerTokenizer
from recformer_hf.training.pretraining.zero_shot import PLOT_FILE, ROWS_FILE
from recformer_hf.training.publishing.hub_upload import published_files
from tests.support.publishing import FINISHED, PICTURES, finished_run
from tests.support.training import small_dataset, small_model, small_tokenizer, small_trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("matplotlib")
    pytest.importorskip("tensorboard")
    folder = tmp_path_factory.mktemp("runs") / "shop-recommender"
    return finished_run(folder, report_to="tensorboard", logging_steps=2)


@pytest.fixture
def folder(run) -> Path:
    return Path(run.args.output_dir)


@pytest.fixture
def pushed(run, hub, monkeypatch):
    """The run, not yet pushed anywhere."""
    monkeypatch.setattr(run, "hub_model_id", None)
    monkeypatch.setattr(run.args, "hub_token", "hf_secret")
    return run


class TestPush:
    def test_uploads_the_finished_files_alone_in_one_commit(self, pushed, hub, folder):
        commit = pushed.push_to_hub(commit_message="A first model", private=True)
        ((repo, message, names),) = hub.commits
        assert (repo, message, hub.private[repo]) == ("someone/shop-recommender", "A first model", True)
        logs = {name for name in names if name.startswith("runs/")}
        assert set(names) - logs == FINISHED | PICTURES
        assert {name.split("/")[1] for name in logs} == {"stage-1", "stage-2"}
        assert all("events.out.tfevents" in name for name in logs)
        assert commit.oid == hub.commit
        assert {token for method, _, token in hub.requests if method == "POST"} == {"Bearer hf_secret"}
        assert (folder / "training_args.bin").is_file()  # it stays here

    def test_what_is_downloaded_recommends_as_the_trainer_does(self, pushed, hub, tmp_path):
        repo = pushed.push_to_hub().repo_url.repo_id
        options = {"cache_dir": tmp_path}
        model = RecformerForSeqRec.from_pretrained(repo, **options).eval()
        tokenizer = RecformerTokenizer.from_pretrained(repo, **options)
        assert ItemCatalog.from_pretrained(repo, **options) == small_dataset().catalog
        test = small_dataset().test
        ranking = pushed.rank(test, exclude_history=True)
        histories = [[small_dataset().catalog[int(item)] for item in test.history(row)] for row in range(4)]
        for row, history in enumerate(histories):
            scores = model(**tokenizer(history, return_tensors="pt")).scores[0]
            scores[test.history(row)] = -np.inf
            torch.testing.assert_close(scores[ranking.recommended[row]], scores.topk(10).values)

    def test_the_card_says_how_to_load_the_repository(self, pushed, hub):
        pushed.push_to_hub(language="en", license="apache-2.0", tags="demo", dataset="someone/shop")
        card = ModelCard(hub.repositories["someone/shop-recommender"]["README.md"].decode())
        assert 'from_pretrained("someone/shop-recommender")' in card.text
        assert (card.data.language, card.data.license, card.data.datasets) == ("en", "apache-2.0", ["someone/shop"])
        assert {"recformer", "demo"} <= set(card.data.tags)
        assert {result.dataset_type for result in card.data.eval_results} == {"someone/shop"}

    @pytest.mark.parametrize("at", ["/repos/create", "/preupload/", "/commit/"])
    def test_one_that_fails_says_so_and_loses_nothing(self, pushed, hub, folder, at):
        weights, before = (folder / "model.safetensors").read_bytes(), set(published_files(folder))
        hub.refuses = at
        with pytest.raises(OSError, match=r"(?s)failed.*Nothing is lost.*push_to_hub\(\) again"):
            pushed.push_to_hub()
        assert hub.commits == []
        assert set(published_files(folder)) == before
        assert (folder / "model.safetensors").read_bytes() == weights
        RecformerForSeqRec.from_pretrained(folder)
        hub.refuses = None
        pushed.push_to_hub()
        assert len(hub.commits) == 1

    def test_a_network_that_is_down_is_no_other_matter(self, pushed, hub, monkeypatch):
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(OSError, match="Nothing is lost"):
            pushed.push_to_hub()

    def test_a_repository_that_cannot_be_made_is_an_error_before_training(self, hub, tmp_path):
        hub.refuses = "/repos/create"
        with pytest.raises(OSError, match="403"):
            small_trainer(tmp_path, push_to_hub=True, hub_model_id="someone/early")

    def test_a_trainer_without_a_result_leaves_a_finished_run_alone(self, hub, tmp_path):
        small_trainer(tmp_path / "run", max_steps=1).train()
        before = (tmp_path / "run/model.safetensors").read_bytes()
        with pytest.raises(RuntimeError, match="nothing to push: call train"):
            small_trainer(tmp_path / "run", hub_model_id="shops/other").push_to_hub()
        assert (tmp_path / "run/model.safetensors").read_bytes() == before
        assert hub.commits == []

    def test_nothing_is_pushed_while_it_trains_and_what_is_not_evaluated_says_so(self, hub, tmp_path):
        trainer = small_trainer(
            tmp_path, push_to_hub=True, hub_model_id="shops/early", num_train_epochs=1, skip_stage1=True
        )
        assert hub.repositories == {"shops/early": {}}
        trainer.train()
        assert hub.commits == []
        trainer.push_to_hub()
        ((repo, _, names),) = hub.commits
        assert repo == "shops/early"
        assert "metrics.json" not in names
        assert "Not evaluated." in hub.repositories[repo]["README.md"].decode()

    def test_without_waiting_it_gives_a_future(self, pushed, hub):
        future = pushed.push_to_hub(blocking=False)
        assert future.result().oid == hub.commit
        assert len(hub.commits) == 1

    def test_a_snapshot_has_the_logs_where_the_hub_looks_for_them(self, pushed, hub, tmp_path):
        repo = pushed.push_to_hub().repo_url.repo_id
        snapshot = Path(snapshot_download(repo, cache_dir=tmp_path))
        assert len(list(snapshot.glob("runs/stage-*/**/events.out.tfevents.*"))) == 2
        assert not [path for pattern in ("*.bin", "*.pt", "*.pth") for path in snapshot.rglob(pattern)]


def test_files_of_a_run_without_stages(tmp_path):
    for name in (
        "model-00001-of-00002.safetensors", "model.safetensors.index.json", "adapter_model.safetensors", "vocab.txt",
        "modeling_recformer.py", "zero_shot.jsonl", "runs/today/events.out.tfevents.1",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    kept = set(published_files(tmp_path))
    for name in (
        "training_args.bin", "trainer_state.json", "run.json", "optimizer.pt", "checkpoint-4/model.safetensors",
        ".model.safetensors.partial", "stage-1/stage.json", "runs/today/notes.txt", ".env", "secrets.json",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert set(published_files(tmp_path)) == kept
    assert len(kept) == 7


def test_a_folder_saved_with_code_is_published_whole(tmp_path):
    small_model().save_pretrained(tmp_path, with_code=True)
    small_tokenizer().save_pretrained(tmp_path, with_code=True)
    (tmp_path / "my_experiment.py").touch()
    names = {path.name for path in tmp_path.iterdir()}
    assert {"modeling_recformer.py", "encoder_attention.py", "storage_atomic.py"} <= names
    assert set(published_files(tmp_path)) == names - {"my_experiment.py"}


def test_the_files_of_pretraining_are_published(tmp_path):
    for name in (ROWS_FILE, PLOT_FILE):
        (tmp_path / name).touch()
    assert set(published_files(tmp_path)) == {ROWS_FILE, PLOT_FILE}
