"""recformer pretrain, from its command line to the folder that it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import RobertaConfig, RobertaForMaskedLM

from recformer_hf.modeling_recformer import RecformerForPretraining
from recformer_hf.tokenization_recformer import RecformerTokenizer
from tests.support.pretraining import domain, pretraining_model, tokenizer

CONFIGS = Path(__file__).parents[3] / "examples" / "configs"
QUICK = [
    *("--max_steps", "2", "--per_device_train_batch_size", "8", "--eval_strategy", "steps", "--eval_steps", "1"),
    *("--use_cpu", "true", "--report_to", "none", "--disable_tqdm", "true", "--ranking_ks", "10"),
]


@pytest.fixture(scope="module")
def shops(tmp_path_factory) -> dict[str, str]:
    """Folders of three small domains."""
    folder = tmp_path_factory.mktemp("shops")
    for name in ("garden", "outdoor", "kitchen"):
        domain(name, 20).save_to_disk(folder / name)
    return {name: str(folder / name) for name in ("garden", "outdoor", "kitchen")}


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer()), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=66, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    RobertaForMaskedLM(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


def words_of(folder: str | Path) -> torch.Tensor:
    return RecformerForPretraining.from_pretrained(folder).recformer.embeddings.word_embeddings.weight


def test_from_a_text_encoder(script, shops, text_encoder, tmp_path, capsys):
    """Frozen word embeddings, zero-shot rows, a folder that loads; the same command is refused unless it resumes."""
    folder = tmp_path / "run"
    command = [
        *("--datasets", shops["garden"], "--validation_dataset", shops["outdoor"]),
        *("--zero_shot_datasets", f"kitchen={shops['kitchen']}", "--text_encoder", text_encoder),
        *("--max_token_num", "64", "--temperature", "0.1", "--output_dir", str(folder), *QUICK, "--ranking_ks", "5"),
    ]
    script.main(command)
    assert "zero-shot at step      2: kitchen_ndcg@5" in capsys.readouterr().out
    rows = [json.loads(line) for line in (folder / "zero_shot.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2]
    model = RecformerForPretraining.from_pretrained(folder)
    assert model.config.temperature == 0.1
    assert RecformerTokenizer.from_pretrained(folder).max_token_num == model.config.max_token_num == 64
    source = RobertaForMaskedLM.from_pretrained(text_encoder).roberta.embeddings.word_embeddings.weight
    assert torch.equal(words_of(folder), source)
    assert (folder / "README.md").is_file()

    with pytest.raises(SystemExit, match="holds a finished run"):
        script.main(command)
    script.main([*command, "--resume_from_checkpoint", "true"])


def test_from_a_checkpoint_to_a_checkpoint(script, shops, tmp_path):
    pretraining_model().save_pretrained(tmp_path / "start")
    tokenizer().save_pretrained(tmp_path / "start")
    script.main(
        ["--datasets", shops["garden"], shops["outdoor"], "--dataset_weights", "1", "0.5", "--model",
         str(tmp_path / "start"), "--max_token_num", "24", "--output_dir", str(tmp_path / "run"), *QUICK,
         "--eval_strategy", "no"]
    )  # fmt: skip
    assert torch.equal(words_of(tmp_path / "run"), words_of(tmp_path / "start"))
    assert RecformerTokenizer.from_pretrained(tmp_path / "run").max_token_num == 24


def test_from_scratch_word_embeddings_are_trained(script, shops, tmp_path):
    script.main(
        ["--datasets", shops["garden"], "--validation_dataset", shops["outdoor"], "--output_dir", str(tmp_path / "run"),
         "--hidden_size", "16", "--num_attention_heads", "2", "--vocab_size", "400", "--max_token_num", "64",
         "--save_total_limit", "3", "--save_strategy", "steps", "--save_steps", "1", *QUICK]
    )  # fmt: skip
    assert not torch.equal(words_of(tmp_path / "run" / "checkpoint-1"), words_of(tmp_path / "run" / "checkpoint-2"))
    assert len(RecformerTokenizer.from_pretrained(tmp_path / "run")) <= 400


def test_without_arguments_it_runs_on_the_demo_shop(script):
    data, start, args = script.parse([])
    assert data.datasets == ["demo:garden", "demo:music"]
    assert data.validation_dataset not in data.datasets
    assert (start.text_encoder, start.model) == (None, None)
    assert not args.freeze_word_embeddings
    assert script.parse(["--num_train_epochs", "1"])[2].num_train_epochs == 1
    assert script.parse(["--datasets", "shop", "--output_dir", "run"])[0].validation_dataset is None
    encoder = ["--datasets", "shop", "--text_encoder", "encoder", "--output_dir", "run"]
    assert script.parse(encoder)[2].freeze_word_embeddings


@pytest.mark.parametrize("flag", ["text_encoder", "model", "tokenizer", "validation_dataset", "dataset_weights"])
def test_the_demo_shop_does_not_stand_in_for_forgotten_datasets(script, tmp_path, flag):
    """A caller who names a model or a dataset but forgets --datasets gets an error, not a run on the demo shop."""
    with pytest.raises(SystemExit, match=rf"^recformer pretrain: Give --datasets.* with --{flag}"):
        script.main([f"--{flag}", "1", "--output_dir", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_users_of_a_target_dataset_are_excluded(script, shops, tmp_path):
    data, start, args = script.parse(
        ["--datasets", "demo:garden", "--exclude_users_of", shops["garden"], "--hidden_size", "16",
         "--num_attention_heads", "2", "--vocab_size", "400", "--output_dir", str(tmp_path / "run"), *QUICK,
         "--eval_strategy", "no"]
    )  # fmt: skip
    trainer = script.run(data, start, args)
    assert len(trainer.datasets[0].train) == 2000 - 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text_encoder", "a", "--model", "b"], "one of the two"),
        (["--zero_shot_datasets", "prepared/kitchen"], "takes NAME=DATASET, got prepared/kitchen"),
        (["--datasets", "demo:cellar"], "has no domain 'cellar'"),
        (["--datasets", "no/such/folder"], "no/such/folder"),
        (["--patience", "0"], "patience must be at least 1"),
    ],
)
def test_an_error_is_one_line(script, tmp_path, arguments, message):
    with pytest.raises(SystemExit) as error:
        script.main(["--datasets", "demo:garden", *arguments, "--output_dir", str(tmp_path / "run")])
    assert str(error.value).startswith("recformer pretrain: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_two_processes_by_accelerate(shops, text_encoder, tmp_path):
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
    launch += [str(CONFIGS / "two_cpu_processes.yaml"), "-m", "recformer_hf.cli", "pretrain"]
    command = [
        *("--datasets", shops["garden"], "--validation_dataset", shops["outdoor"], "--text_encoder", text_encoder),
        *("--zero_shot_datasets", f"kitchen={shops['kitchen']}", "--max_token_num", "64"),
        *("--contrastive_chunk_size", "3", "--output_dir", str(tmp_path / "run"), *QUICK),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([*launch, *command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("zero-shot at step      2") == 1
    assert (tmp_path / "run" / "run.json").is_file()
