"""recformer finetune: its command line, its run on the demo shop, and (slow) how close it comes to the oracle."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest

from recformer_hf.baselines import LastItemText
from recformer_hf.cli.commands import finetune
from recformer_hf.data.demo import DemoOracle, load_demo_domain
from recformer_hf.evaluation.ranking import Ranking, rank_split


def quiet(folder: Path, *more: str) -> list[str]:
    return ["--output_dir", str(folder), "--report_to", "none", "--use_cpu", "true", *more]


def test_without_arguments_it_runs_on_the_demo_shop() -> None:
    data, args = finetune.parse([])
    assert data.model is None
    assert (args.output_dir, args.learning_rate, args.resume_from_checkpoint) == ("demo-recformer", 1e-3, "true")


def test_with_a_model_the_papers_defaults_hold() -> None:
    data, args = finetune.parse(["--model", "warm", "--dataset", "shop", "--output_dir", "out", "--recipe", "lecture"])
    assert (data.model, data.dataset) == ("warm", "shop")
    assert (args.learning_rate, args.per_device_train_batch_size, args.num_train_epochs) == (5e-5, 16, 128)
    assert (args.stage1_freeze, args.stage2_item_matrix) == ("embeddings", "reencode")
    with pytest.raises(SystemExit):
        finetune.parse(["--model", "warm", "--output_dir", "out"])


def test_an_error_is_one_line(tmp_path: Path) -> None:
    for arguments, message in {
        ("--recipe", "papper"): "recformer finetune: recipe must be one of paper",
        ("--model", str(tmp_path / "none"), "--dataset", "demo:kitchen"): "recformer finetune: .*none",
    }.items():
        with pytest.raises(SystemExit, match=message) as caught:
            finetune.main(quiet(tmp_path / "run", *arguments))
        assert "\n" not in str(caught.value)


@pytest.fixture
def tiny_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run on a small shop, with one epoch in each part."""
    load = finetune.load_demo_domain
    monkeypatch.setattr(finetune, "load_demo_domain", lambda name, seed: load(name, seed, num_users=80, num_items=100))
    monkeypatch.setitem(finetune.DEMO_MODEL, "hidden_size", 16)
    monkeypatch.setitem(finetune.DEMO_PRETRAINING, "num_train_epochs", 1)
    monkeypatch.setitem(finetune.DEMO_FINETUNING, "num_train_epochs", 1)
    monkeypatch.setitem(finetune.DEMO_FINETUNING, "stage2_num_train_epochs", 1)


@pytest.mark.usefixtures("tiny_demo")
def test_the_demo_run_prints_its_table_and_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finetune.main(quiet(tmp_path / "run"))
    printed, errors = capsys.readouterr()
    assert errors == ""  # no bars: this is no terminal
    assert printed.count("Recipe paper: stage 1") == 1
    for row in (
        "popularity",
        "last-item text",
        "Markov",
        "Recformer, zero-shot",
        "Recformer, paper",
        "Recformer, hybrid",
        "blend",
        "invented",
    ):
        assert row in printed
    assert len(re.findall(r"^User \d chose", printed, re.MULTILINE)) == 3
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    finetune.main(quiet(tmp_path / "run"))  # the run is finished: its result is printed again, and nothing is trained
    assert capsys.readouterr().out.count("Recformer, paper") == 1
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == metrics
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights

    shop = tmp_path / "shop"
    finetune.load_demo_domain("garden", seed=0).save_to_disk(shop)
    finetune.main(
        quiet(tmp_path / "own", "--model", str(tmp_path / "run" / "pretrained"), "--dataset", str(shop),
              "--num_train_epochs", "1", "--skip_stage2", "true", "--max_token_num", "64")
    )  # fmt: skip
    assert (tmp_path / "own" / "README.md").is_file()
    printed = capsys.readouterr().out
    figures = json.loads((tmp_path / "own" / "metrics.json").read_text())["test"]["history_kept"]["overall"]["metrics"]
    assert f"  test, history kept      NDCG@10 {figures['ndcg@10']:.4f}   Recall@10 " in printed
    last = printed.partition("\nnext:\n")[2].splitlines()
    own = tmp_path / "own"
    assert last[0] == f"""  echo '["garden-0000", "garden-0099"]' | recformer recommend --model {own} --top_k 3"""
    assert last[1].startswith(f"  recformer evaluate --model {own} --dataset {shop} --baselines ")
    assert "{" not in printed  # the log is lines


@pytest.mark.usefixtures("tiny_demo")
def test_quiet_prints_the_result_alone_and_ctrl_c_says_how_to_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(finetune.RecformerFinetuningTrainer, "train", interrupted)
        with pytest.raises(SystemExit) as stopped:
            finetune.main(quiet(tmp_path / "run", "--quiet"))
    assert stopped.value.code == 130
    printed, errors = capfd.readouterr()
    assert printed == ""
    assert errors == f"recformer finetune: stopped. {finetune.RESUME}\n"
    finetune.main(quiet(tmp_path / "run", "--quiet"))
    printed, errors = capfd.readouterr()
    assert errors == ""
    assert printed.startswith("\ndemo-shop-kitchen: 80 test users")  # the table
    assert "next:" not in printed
    assert "Recipe" not in printed


@pytest.mark.usefixtures("tiny_demo")
def test_all_rows_of_the_table_have_the_same_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, args = finetune.parse(quiet(tmp_path, "--exclude_history", "true", "--ranking_ties", "optimistic"))
    protocols = []

    def ranked(*inputs: object, **protocol: object) -> Ranking:
        protocols.append(protocol)
        return rank_split(*inputs, **protocol)

    trainer = MagicMock()
    trainer.rank = lambda split: rank_split(LastItemText().fit(finetune.load_demo_domain("kitchen", 0)), split)
    monkeypatch.setattr(finetune, "rank_split", ranked)
    monkeypatch.setattr(finetune, "RecformerFinetuningTrainer", lambda *_, **__: trainer)
    for name in ("pretrain_demo", "RecformerForSeqRec", "RecformerTokenizer"):
        monkeypatch.setattr(finetune, name, MagicMock())
    finetune.demo(args)
    assert protocols == [{"exclude_history": True, "ties": "optimistic"}] * 7
    assert "ranked, history excluded, ties optimistic. " in capsys.readouterr().out


def test_the_plan_shows_both_stages() -> None:
    """Including the settings that override the recipe."""
    for arguments, expected in {
        (): "Recipe paper: stage 1: item matrix reencode, freeze none; stage 2: item matrix frozen, freeze none",
        ("--recipe", "ablation-4", "--stage2_freeze", "none"):
            "Recipe ablation-4: stage 1: skipped; stage 2: item matrix trainable, freeze none",
    }.items():  # fmt: skip
        assert finetune.parse(list(arguments))[1].plan().splitlines()[0] == expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_reaches_four_fifths_of_the_oracle(seed: int, tmp_path: Path) -> None:
    finetune.main(quiet(tmp_path, "--seed", str(seed)))
    shop = load_demo_domain(finetune.DEMO_DOMAIN, seed=seed)
    cold = ~np.isin(shop.test.targets, shop.train.items)
    rankings = {
        "trained": Ranking.load(tmp_path / "test-kept.npz"),
        "oracle": rank_split(DemoOracle.from_dataset(shop), shop.test),
        "text": rank_split(LastItemText().fit(shop), shop.test),
    }
    in_set, of_cold = (
        {name: ranking.select(rows).metrics([10])["ndcg@10"] for name, ranking in rankings.items()}
        for rows in (~cold, cold)
    )
    print(f"seed {seed}: in-set {in_set}, cold {of_cold}")
    assert in_set["trained"] >= 0.8 * in_set["oracle"]
    assert of_cold["trained"] >= 2 * of_cold["text"]


def test_training_and_evaluation_do_not_need_polars() -> None:
    """The README's command runs after `pip install recformer-hf[train]`: only reading and preparing need polars."""
    code = (
        "import sys; sys.modules['polars'] = None\n"
        "import recformer_hf.training, recformer_hf.evaluation.report, recformer_hf.baselines, recformer_hf.data.demo\n"
        "import recformer_hf.data.opening, recformer_hf.recommending.encode_catalog, recformer_hf.conversion\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
