"""training/expected_kinds.py: what a trainer is handed instead of what it needs."""

from __future__ import annotations

import peft
import pytest
import torch
from torch import nn
from transformers import PreTrainedTokenizerFast, TrainingArguments

from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.modeling_recformer import RecformerForPretraining, RecformerForSeqRec, RecformerModel
from recformer_hf.training import RecformerFinetuningTrainer, RecformerPretrainingTrainer
from recformer_hf.training.expected_kinds import check_dataset, check_model
from tests.support.pretraining import domain, pretraining_arguments, pretraining_model, pretraining_trainer
from tests.support.training import small_arguments, small_dataset, small_model, small_tokenizer, small_trainer


def lora(model):
    return peft.get_peft_model(model, peft.LoraConfig(target_modules=["query", "value"], r=2))


class TestModel:
    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            (lambda: lora(small_model()), r"wrapped in a PeftModel\. .*merge_and_unload"),
            (lambda: lora(small_model()).base_model.model, r"has PEFT adapters in it.*merge_and_unload"),
            (lambda: torch.compile(small_model()), r"wrapped in a OptimizedModule\. .*torch_compile=True"),
            (lambda: nn.DataParallel(small_model()), r"wrapped in a DataParallel\. .*accelerate launch"),
            (lambda: RecformerForSeqRec, "is the class RecformerForSeqRec, not a model"),
            (lambda: "folder/of/a/model", r"from_pretrained\('folder/of/a/model'\)"),
            (lambda: None, r"The model is None, not a RecformerForSeqRec"),
            (
                lambda: RecformerForPretraining(small_model().config),
                "must be a RecformerForSeqRec, got RecformerForPre",
            ),
            (lambda: RecformerModel(small_model().config), "must be a RecformerForSeqRec, got RecformerModel"),
            (lambda: nn.Linear(2, 2), "must be a RecformerForSeqRec, got Linear"),
            (lambda: small_model().to("meta"), "is not in memory"),
        ],
    )
    def test_is_refused_before_anything_is_written(self, tmp_path, wrong, message):
        model = wrong()
        with pytest.raises(TypeError, match=message):
            RecformerFinetuningTrainer(
                model, small_arguments(tmp_path), train_dataset=small_dataset(), processing_class=small_tokenizer()
            )
        assert list(tmp_path.iterdir()) == []

    def test_quantised_weights(self):
        model = small_model()
        layer = model.recformer.encoder.layer[0].intermediate.dense
        layer.weight = nn.Parameter(layer.weight.data.to(torch.int8), requires_grad=False)
        with pytest.raises(TypeError, match=r"dense\.weight is quantised \(Tensor, torch\.int8\)"):
            check_model(model, RecformerForSeqRec)

    def test_merged_adapters_train(self, tmp_path):
        merged = lora(small_model()).merge_and_unload()
        with pytest.raises(ValueError, match=r"every weight of the model is frozen.*requires_grad_\(True\)"):
            small_trainer(tmp_path / "frozen", merged).train()
        merged.requires_grad_(True)
        small_trainer(tmp_path / "run", merged, skip_stage2=True, max_steps=1).train()

    def test_in_pretraining(self, tmp_path):
        with pytest.raises(TypeError, match="must be a RecformerForPretraining, got RecformerForSeqRec"):
            pretraining_trainer(tmp_path, RecformerForSeqRec(pretraining_model().config))
        with pytest.raises(TypeError, match="wrapped in a PeftModel"):
            pretraining_trainer(tmp_path, lora(pretraining_model()))

    def test_a_class_of_the_same_name_that_came_with_a_checkpoint(self):
        check_model(type("RecformerForSeqRec", (nn.Module,), {})(), RecformerForSeqRec)


class TestArguments:
    def test_those_of_transformers_or_of_the_other_trainer(self, tmp_path, monkeypatch):
        for args in (
            TrainingArguments(str(tmp_path), use_cpu=True),
            pretraining_arguments(tmp_path),
            {"output_dir": "run"},
            None,
        ):
            monkeypatch.setattr("tests.support.training.small_arguments", lambda *_, args=args, **__: args)
            with pytest.raises(TypeError, match=f"must be RecformerFinetuningArguments, got {type(args).__name__}"):
                small_trainer(tmp_path)
        with pytest.raises(TypeError, match="must be RecformerPretrainingArguments, got RecformerFinetuningArg"):
            RecformerPretrainingTrainer(
                pretraining_model(), small_arguments(tmp_path), train_datasets=[], processing_class=None
            )


class TestTokenizer:
    def test_of_another_kind(self, tmp_path):
        small_tokenizer().save_pretrained(tmp_path)
        plain = PreTrainedTokenizerFast.from_pretrained(tmp_path)
        for trainer in (small_trainer, pretraining_trainer):
            with pytest.raises(TypeError, match="RecformerTokenizer"):
                trainer(tmp_path / "run", trainer_processing_class=plain)


class TestDataset:
    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ([], "got list"),
            (None, "got NoneType"),
            ("shop", r"got str \('shop'\).*SequentialDataset\.load"),
            (SequentialDataset, "got the class SequentialDataset"),
        ],
    )
    def test_of_another_kind(self, wrong, message):
        with pytest.raises(TypeError, match=f"train_dataset must be a SequentialDataset, {message}"):
            check_dataset(wrong, "train_dataset")

    def test_one_instead_of_several(self, tmp_path):
        for wrong in (domain("garden"), []):
            with pytest.raises(TypeError, match=r"must be a list of SequentialDatasets, with at least one"):
                pretraining_trainer(tmp_path, trainer_train_datasets=wrong)
        with pytest.raises(TypeError, match=r"zero_shot_datasets\['kitchen'\] must be a SequentialDataset, got list"):
            pretraining_trainer(tmp_path, trainer_zero_shot_datasets={"kitchen": []})

    def test_to_evaluate_on(self, tmp_path):
        dataset = small_dataset()
        with pytest.raises(TypeError, match="got dict"):
            small_trainer(tmp_path, trainer_eval_dataset={"shop": dataset.validation})
        with pytest.raises(ValueError, match="have no targets"):
            small_trainer(tmp_path, trainer_eval_dataset=dataset.train)
        with pytest.raises(ValueError, match=r"has row \d+ of a catalogue, but the catalogue has 60 items"):
            small_trainer(tmp_path, trainer_eval_dataset=small_dataset(48, 90).test)
        assert len(small_trainer(tmp_path, trainer_eval_dataset=dataset).eval_dataset) == len(dataset.validation)
