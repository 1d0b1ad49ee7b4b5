"""The lines of a training run and its summary."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from transformers import PrinterCallback, ProgressCallback

from recformer_hf.cli import output
from recformer_hf.cli.training_output import lines_of_test, log_line, say_summary, show_lines
from tests.support.training import small_trainer


@pytest.mark.parametrize(
    ("logs", "line"),
    [
        ({"loss": 2.34567, "grad_norm": 1.0, "data_wait": 0.1, "learning_rate": 1e-4, "epoch": 1.5},
         "step 1,230, epoch 1.5: loss 2.346, learning_rate 0.0001"),
        ({"eval_loss": 4.5, "eval_ndcg@10": 0.31416, "eval_ndcg@50": 0.4, "eval_mrr@10": 0.2, "eval_mrr": 0.2,
          "eval_runtime": 3.0, "eval_samples_per_second": 2.0, "epoch": 2.0},
         "step 1,230, epoch 2: validation loss 4.5, ndcg@10 0.3142"),
        ({"kitchen_ndcg@10": 0.5}, "step 1,230: kitchen_ndcg@10 0.5"),
        ({"train_runtime": 4.0, "train_loss": 2.0, "epoch": 2.0}, ""),
        ({"eval_runtime": 4.0, "epoch": 2.0}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_a_log_entry_is_a_line(logs, line):
    assert log_line(logs, 1230) == line


def test_figures_of_the_test_split():
    report = {
        "overall": {"metrics": {"recall@10": 0.5, "mrr": 0.1, "ndcg@50": 0.4, "ndcg@10": 0.25, "recall@50": 0.75}}
    }
    assert lines_of_test({"test": {"history_kept": report}}) == [
        "  test, history kept      NDCG@10 0.2500   Recall@10 0.5000   NDCG@50 0.4000   Recall@50 0.7500"
    ]
    assert lines_of_test({"validation": {}}) == []


def test_the_summary_ends_with_commands(capsys):
    say_summary("Finetuned a on b.", ["  figures"], "folder", "the model", ["recformer env"])
    assert capsys.readouterr().out == "\nFinetuned a on b.\n  figures\n  in folder: the model\nnext:\n  recformer env\n"


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("bars", [False, True])
def test_a_trainer_prints_lines_instead_of_dictionaries(tmp_path, capsys, quiet, bars):
    trainer = small_trainer(tmp_path, max_steps=2, logging_steps=1, disable_tqdm=not bars)
    with output.shown_to_a_person():
        if quiet:
            output.be_quiet()
        show_lines(trainer)
    kinds = [type(callback) for callback in trainer.callback_handler.callbacks]
    assert PrinterCallback not in kinds
    assert ProgressCallback not in kinds
    assert any(issubclass(kind, ProgressCallback) for kind in kinds) is bars
    trainer.train()
    printed = capsys.readouterr().out
    assert "{" not in printed
    assert ("step 1, epoch " in printed) is not quiet
    assert ("validation loss " in printed) is not quiet


def test_other_processes_print_nothing(tmp_path, capsys):
    trainer = small_trainer(tmp_path, disable_tqdm=True)
    show_lines(trainer)
    callback = trainer.callback_handler.callbacks[-1]
    for main, expected in ((True, "step 3: loss 1\n"), (False, "")):
        callback.on_log(None, SimpleNamespace(is_world_process_zero=main, global_step=3), None, {"loss": 1.0})
        assert capsys.readouterr().out == expected
