"""recformer baseline: its command line, one baseline on a dataset, and all of them on the demo shop."""

from __future__ import annotations

import json

import pytest

from recformer_hf import RecformerForSeqRec, RecformerTokenizer
from recformer_hf.baselines import NEURAL, SASRec
from recformer_hf.cli.commands import baseline, finetune
from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.evaluation import RecformerScorer, rank_split

DATASET = load_demo_domain("kitchen", num_users=40, num_items=60)
SHORT = ["--use_cpu", "true", "--report_to", "none", "--num_train_epochs", "1", "--eval_batch_tokens", "256"]


@pytest.fixture
def shop(tmp_path) -> str:
    DATASET.save_to_disk(tmp_path / "shop")
    return str(tmp_path / "shop")


def last_row(printed: str) -> str:
    """The last row of the table."""
    return printed.partition("\nnext:\n")[0].splitlines()[-1]


def failure(script, arguments: list[str]) -> str:
    with pytest.raises(SystemExit) as error:
        script.main(arguments)
    message = str(error.value)
    assert message.startswith("recformer baseline: ")
    assert "\n" not in message
    return message


def test_without_arguments_all_train_on_the_demo_shop_in_folders_of_their_own(script) -> None:
    runs = script.parse([])
    assert [data.baseline for data, _ in runs] == list(NEURAL)
    assert {data.dataset for data, _ in runs} == {"demo:kitchen"}
    assert [args.output_dir for _, args in runs] == [f"demo-baselines/{name}" for name in NEURAL]


def test_a_baselines_own_defaults_hold_unless_something_else_is_asked_for(script, monkeypatch) -> None:
    monkeypatch.setattr(SASRec, "training_defaults", {"learning_rate": 0.5, "patience": 3})
    command = ["--baseline", "sasrec", "--dataset", "shop", "--output_dir", "out", "--patience", "4"]
    ((data, args),) = script.parse(command)
    assert (data.dataset, args.output_dir, args.learning_rate, args.patience) == ("shop", "out", 0.5, 4)


def test_one_baseline_with_settings_leaves_its_folder_and_a_line(script, shop, tmp_path, capsys) -> None:
    folder = tmp_path / "run"
    command = ["--baseline", "sasrec", "--dataset", shop, "--output_dir", str(folder), *SHORT]
    command += ["--settings", "hidden_size=16", "loss=gbce", "dropout=0.5"]
    script.main(command)
    line = last_row(capsys.readouterr().out)
    config = SASRec.from_pretrained(folder).config
    assert (config.hidden_size, config.loss, config.dropout) == (16, "gbce", 0.5)
    metrics = json.loads((folder / "metrics.json").read_text())["test"]
    assert line.split()[:2] == ["sasrec", f"{metrics['history_kept']['overall']['metrics']['ndcg@10']:.4f}"]
    assert "holds a finished run" in failure(script, command)
    script.main([*command, "--resume_from_checkpoint", "true"])
    assert last_row(capsys.readouterr().out).split()[:5] == line.split()[:5]


@pytest.fixture
def tiny_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo shop is a small one, and so is its Recformer."""
    monkeypatch.setattr(baseline, "open_dataset", lambda name, seed: DATASET)
    load = finetune.load_demo_domain
    monkeypatch.setattr(finetune, "load_demo_domain", lambda name, seed: load(name, seed, num_users=40, num_items=60))
    monkeypatch.setitem(finetune.DEMO_MODEL, "hidden_size", 16)
    for settings in (finetune.DEMO_PRETRAINING, baseline.DEMO_FINETUNING, finetune.DEMO_HYBRID):
        monkeypatch.setitem(settings, "num_train_epochs", 1)
    monkeypatch.setitem(baseline.DEMO_FINETUNING, "stage2_num_train_epochs", 1)


@pytest.mark.usefixtures("tiny_demo")
def test_on_the_demo_shop_all_stand_in_one_table_with_simple_ones_and_recformers(script, tmp_path, capsys) -> None:
    folder = tmp_path / "runs"
    script.main(["--output_dir", str(folder), *SHORT])
    printed = capsys.readouterr().out.partition("demo:kitchen, test: 40 users, 60 items\n")[2].partition("\nnext:")[0]
    rows = {line[:20].strip(): line[20:].split() for line in printed.splitlines()[1:]}
    simple = ["popularity", "markov", "cooccurrence", "text_neighbours", "blend", "(knows the process)"]
    assert list(rows) == [*simple, *NEURAL, "recformer, paper", "recformer, hybrid"]
    for name, model in NEURAL.items():
        assert model.from_pretrained(folder / name).catalog == DATASET.catalog
    for name, where in (("recformer, paper", "recformer"), ("recformer, hybrid", "recformer/hybrid")):
        model = RecformerForSeqRec.from_pretrained(folder / where)
        scorer = RecformerScorer(model, RecformerTokenizer.from_pretrained(folder / where), DATASET.catalog)
        found = rank_split(scorer.fit(DATASET), DATASET.test, exclude_history=True).metrics([10])
        assert rows[name][2] == f"{found['ndcg@10']:.4f}"


def test_a_dataset_without_a_test_split_is_ranked_on_validation(script, tmp_path, capsys) -> None:
    shop = SequentialDataset(DATASET.catalog, DATASET.train, DATASET.validation, None, DATASET.info)
    shop.save_to_disk(tmp_path / "shop")
    command = ["--baseline", "sasrec", "--dataset", str(tmp_path / "shop"), "--output_dir", str(tmp_path / "run")]
    script.main([*command, *SHORT])
    printed = last_row(capsys.readouterr().out.partition("validation: 40 users, 60 items\n")[2])
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert printed.split()[1] == f"{metrics['validation']['metrics']['ndcg@10']:.4f}"
    assert "test" not in metrics


def test_what_cannot_be_done_is_said_in_a_line(script, shop, tmp_path) -> None:
    command = ["--baseline", "sasrec", "--dataset", shop, "--output_dir", str(tmp_path / "run"), *SHORT]
    for settings, message in {
        "hiden_size=3": "--settings: SASRec has no setting 'hiden_size'; did you mean hidden_size",
        "hidden_size": "NAME=VALUE with a field of SASRecConfig, got hidden_size",
        "hidden_size=0": "hidden_size must be positive and finite, got 0",
    }.items():
        assert message in failure(script, [*command, "--settings", settings])
    assert "SASRec knows items by their ids alone" in failure(script, [*command, "--pretraining_datasets", shop, shop])


def test_what_has_no_effect_or_needs_a_baseline_is_refused_without_one(script, capsys) -> None:
    for command, message in (
        (["--settings", "loss=bce"], "--settings needs --baseline"),
        (["--baseline", "sasrex"], "--baseline sasrex is unknown; there are"),
        (["--baseline", "unisrec", "--exclude_users"], "--exclude_users needs --pretraining_datasets"),
        (["--exclude_users"], "--exclude_users needs --pretraining_datasets"),
        (["--baseline", "zesrec", "--pretraining_epochs", "3"], "zesrec does not pretrain without"),
    ):
        with pytest.raises(SystemExit):
            script.parse(command)
        assert message in capsys.readouterr().err
    assert script.parse(["--baseline", "s3rec", "--pretraining_epochs", "3"])[0][0].pretraining_epochs == 3
