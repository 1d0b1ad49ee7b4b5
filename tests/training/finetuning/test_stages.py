"""training/finetuning/stages.py: recipes, and the result that a stage leaves."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import get_args

import pytest
from accelerate import PartialState

from recformer_hf.training import RecformerFinetuningArguments
from recformer_hf.training.finetuning.stages import RECIPES, USUAL_SETTINGS, ItemMatrix, StageResult, load_stage
from recformer_hf.training.freezing import Freeze
from tests.support.training import EVERY_TWO_STEPS, small_trainer, write_checkpoint


def test_recipes_choose_what_there_is():
    stages = [stage for recipe in RECIPES.values() for stage in (recipe.stage1, recipe.stage2) if stage is not None]
    assert {stage.item_matrix for stage in stages} == set(get_args(ItemMatrix))
    assert {stage.freeze for stage in stages} == set(get_args(Freeze))
    assert all(recipe.stage1 or recipe.stage2 for recipe in RECIPES.values())
    assert RECIPES["paper"].settings == {}


def test_a_recipe_sets_only_what_is_none_unless_somebody_sets_it():
    fields = RecformerFinetuningArguments.__dataclass_fields__
    for recipe in RECIPES.values():
        assert all(fields[name].default is None for name in recipe.settings)


def test_the_record_of_a_stage_survives(tmp_path):
    trainer = small_trainer(tmp_path / "run", max_steps=2, logging_steps=1)
    trainer.train()
    assert load_stage(tmp_path / "run/stage-2") == trainer.results[1]
    lines = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [(entry["stage"], entry["step"]) for entry in lines] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert all(entry["tokens_per_second"] > 0 and entry["data_wait"] >= 0 for entry in lines)


def test_a_finished_stage_whose_checkpoint_is_gone(tmp_path, finished_run):
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    for checkpoint in folder.glob("stage-1/checkpoint-*"):
        (checkpoint / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"stage\.json names checkpoint-\d+, which is not complete"):
        small_trainer(folder, **EVERY_TWO_STEPS).train(resume_from_checkpoint=True)


def test_a_result_names_the_step_of_its_checkpoint(tmp_path):
    result = StageResult(1, "checkpoint-40", 0.5, True, 60, 1.25, [{"stage": 1, "step": 60, "loss": 1.25}])
    assert result.step == 40
    assert load_stage(tmp_path / "stage-1") is None
    result.save(tmp_path / "stage-1")
    write_checkpoint(tmp_path / "stage-1", PartialState(cpu=True), 40)
    assert load_stage(tmp_path / "stage-1") == result


def test_the_docs_have_the_settings_of_the_recipes():
    """docs/training.md: a row for each setting, with its value in the other recipes, in hybrid and in hybrid-flat."""
    text = (Path(__file__).parents[3] / "docs/training.md").read_text("utf-8")
    table = text[text.index("| argument | other recipes |") :].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table]
    rows = {name: row[1:] for row in cells for name in re.findall("`(.*?)`", row[0])}
    names = {*USUAL_SETTINGS, *RECIPES["hybrid"].settings, *RECIPES["hybrid-flat"].settings}
    assert rows.keys() == names | {"head_size"}
    for name, usual in USUAL_SETTINGS.items():
        for column, recipe in enumerate(("paper", "hybrid", "hybrid-flat")):
            value = RECIPES[recipe].settings.get(name, usual)
            words = re.split(r"[ ,]+", rows[name][column])
            assert value is None or str(value) in words or float(words[0]) == value, (name, recipe)
