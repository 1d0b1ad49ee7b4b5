"""training/finetuning/arguments.py: from where settings come, what recipes make of them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import HfArgumentParser

from recformer_hf.training import RecformerFinetuningArguments
from tests.support.training import small_arguments


class TestArguments:
    OPTIONS = {
        "output_dir": "run", "recipe": "lecture", "stage2_item_matrix": "trainable", "stage2_freeze": "none",
        "skip_stage1": True, "ranking_ks": [5, 20], "ranking_ties": "optimistic", "max_batch_tokens": 4096,
        "stage2_learning_rate": 1e-5, "report_to": "none",
    }  # fmt: skip

    def check(self, args: RecformerFinetuningArguments) -> None:
        (stage,) = args.stages()
        assert (stage.number, stage.item_matrix, stage.freeze, stage.learning_rate) == (2, "trainable", "none", 1e-5)
        assert (args.ranking_ks, args.ranking_ties, args.max_batch_tokens) == ([5, 20], "optimistic", 4096)
        assert args.report_to == []

    def test_from_the_command_line(self):
        words = []
        for name, value in self.OPTIONS.items():
            words += [f"--{name}", *(str(each) for each in (value if isinstance(value, list) else [value]))]
        self.check(HfArgumentParser(RecformerFinetuningArguments).parse_args_into_dataclasses(words)[0])

    def test_from_yaml_and_json(self, tmp_path):
        text = json.dumps(self.OPTIONS)  # which is YAML too
        for name in ("settings.json", "settings.yaml"):
            (tmp_path / name).write_text(text)
        parser = HfArgumentParser(RecformerFinetuningArguments)
        self.check(parser.parse_json_file(tmp_path / "settings.json")[0])
        self.check(parser.parse_yaml_file(tmp_path / "settings.yaml")[0])

    def test_every_option_has_help(self):
        fields = RecformerFinetuningArguments.__dataclass_fields__
        assert [name for name in fields if not fields[name].metadata.get("help")] == []

    def test_what_was_set_can_be_listed(self):
        settings = small_arguments("run", recipe="ablation-3", weight_decay=0.1).settings()
        assert settings["recipe"] == "ablation-3"
        assert settings["weight_decay"] == 0.1
        assert settings["stage2_item_matrix"] == "trainable"
        assert "adam_beta1" not in settings
        assert "greater_is_better" not in settings
        json.dumps(settings)

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"recipe": "papper"}, "ablation-4, got 'papper'"),
            ({"skip_stage1": True, "skip_stage2": True}, "nothing to train"),
            ({"stage2_patience": 0}, "stage1_patience and stage2_patience must be at least 1"),
            ({"num_negatives": -1}, "num_negatives must be a number of at least 0, got -1"),
            ({"stage2_learning_rate": -0.1}, "stage2_learning_rate must be a number of at least 0"),
            ({"memory": "false"}, "memory must be True, False or None, got 'false'"),
            ({"history_bias": 1}, "history_bias must be True, False or None, got 1"),
            ({"max_validation_users": 0}, "max_validation_users must be at least 1 or None, got 0"),
            (
                {"stage1_freeze": "words"},
                "freeze must be one of none, word_embeddings, embeddings, lower_layers, encoder, got 'words'",
            ),
            ({"stage1_item_matrix": "fixed"}, "must be one of reencode, frozen, trainable, got 'fixed'"),
        ],
    )
    def test_what_cannot_be_is_refused(self, wrong, message):
        with pytest.raises(ValueError, match=message):
            small_arguments("run", **wrong)


def test_each_recipe_is_a_setting_of_the_same_arguments():
    table = {}
    for recipe in ("paper", "hybrid", "hybrid-flat", "lecture", "ablation-1", "ablation-2", "ablation-3", "ablation-4"):
        stages = small_arguments("unused", recipe=recipe).stages()
        table[recipe] = [(each.number, each.item_matrix, each.freeze) for each in stages]
    assert table == {
        "paper": [(1, "reencode", "none"), (2, "frozen", "none")],
        "hybrid": [(2, "frozen", "encoder")],
        "hybrid-flat": [(1, "reencode", "none")],
        "lecture": [(1, "reencode", "embeddings"), (2, "reencode", "none")],
        "ablation-1": [(2, "frozen", "none")],
        "ablation-2": [(2, "frozen", "word_embeddings")],
        "ablation-3": [(2, "trainable", "none")],
        "ablation-4": [(2, "trainable", "word_embeddings")],
    }


def test_a_stage_has_its_own_folder_epochs_rate_and_draws(tmp_path):
    args = small_arguments(tmp_path / "run", stage2_num_train_epochs=7, stage2_learning_rate=1e-5, seed=3)
    first, second = args.stages()
    found = [
        (each.output_dir, each.num_train_epochs, each.learning_rate) for each in map(args.of_stage, (first, second))
    ]
    assert found == [(str(tmp_path / "run/stage-1"), 2, 1e-3), (str(tmp_path / "run/stage-2"), 7, 1e-5)]
    assert Path(args.output_dir) == tmp_path / "run"
    assert (args.seed_of(first), args.seed_of(second)) == (3, 3 + 2**32)
    assert small_arguments(tmp_path, seed=3, data_seed=8).seed_of(first) == 8


def test_a_stage_that_the_recipe_skips_can_be_put_back():
    stages = small_arguments("unused", recipe="ablation-3", skip_stage1=False).stages()
    assert [(each.item_matrix, each.freeze) for each in stages] == [("reencode", "none"), ("trainable", "none")]


class TestRecipes:
    HEAD = ("item_projection", "item_residuals", "history_bias", "learned_temperature")

    def test_the_paper_leaves_the_model_its_own_head(self):
        args = RecformerFinetuningArguments(output_dir="run", use_cpu=True)
        assert args.head_fields() == {}
        assert (args.learning_rate, args.num_train_epochs, args.per_device_train_batch_size) == (5e-5, 128, 16)
        assert (args.weight_decay, args.warmup_steps, args.head_learning_rate) == (0.0, 0, None)
        assert (args.stage1_patience, args.stage2_patience) == (5, 3)
        assert {"learning_rate", "stage1_patience", *self.HEAD}.isdisjoint(args.settings())

    def test_the_hybrid_sets_head_and_schedule(self):
        args = RecformerFinetuningArguments(output_dir="run", use_cpu=True, recipe="hybrid")
        assert args.head_fields() == {"sequence_head": "two_level"} | dict.fromkeys(self.HEAD, True)
        assert (args.learning_rate, args.per_device_train_batch_size) == (2e-3, 128)
        assert args.settings()["learning_rate"] == 2e-3
        assert args.deciding_settings()["sequence_head"] == "two_level"

    def test_a_stage_of_a_recipe_has_settings_of_its_own_unless_the_caller_sets_both(self):
        common = {"output_dir": "run", "use_cpu": True, "recipe": "hybrid-text"}

        def sizes(**given):
            stages = RecformerFinetuningArguments(**common, **given).stages()
            return [(stage.learning_rate, stage.per_device_train_batch_size) for stage in stages]

        assert sizes() == [(2e-4, 32), (2e-3, 128)]
        assert sizes(learning_rate=1e-3) == [(1e-3, 32), (1e-3, 128)]
        assert sizes(stage2_per_device_train_batch_size=8) == [(2e-4, 32), (2e-3, 8)]
        assert sizes(learning_rate=1e-3, stage2_learning_rate=3e-3) == [(1e-3, 32), (3e-3, 128)]
        args = RecformerFinetuningArguments(**common)
        assert [args.of_stage(stage).learning_rate for stage in args.stages()] == [2e-4, 2e-3]
        assert "stage2_learning_rate 0.002" in args.plan()
        with pytest.raises(ValueError, match="stage2_per_device_train_batch_size must be at least 1, got 0"):
            RecformerFinetuningArguments(**common, stage2_per_device_train_batch_size=0)

    def test_pairs_of_items_take_steps_unless_the_caller_says_for_how_long(self):
        common = {"output_dir": "run", "use_cpu": True, "recipe": "hybrid-text"}

        def steps(**given):
            args = RecformerFinetuningArguments(**common, **given)
            assert [stage.item_pairs for stage in args.stages()] == [True, False]
            assert [args.of_stage(stage).max_steps for stage in args.stages()] == [
                stage.max_steps for stage in args.stages()
            ]
            return [stage.max_steps for stage in args.stages()]

        assert steps() == [840, -1]
        assert steps(num_train_epochs=2) == [-1, -1]
        assert steps(max_steps=5) == [5, 5]
        assert steps(max_steps=5, stage1_max_steps=6) == [6, 5]
        assert RecformerFinetuningArguments("run", use_cpu=True, recipe="lecture").stages()[0].max_steps == -1
        for wrong in (0, -5):
            with pytest.raises(ValueError, match=f"stage1_max_steps must be at least 1, or -1 for epochs, got {wrong}"):
                RecformerFinetuningArguments(**common, stage1_max_steps=wrong)

    def test_what_the_caller_sets_wins_over_the_recipe_even_if_it_is_the_usual_value(self):
        given = {"learning_rate": 5e-5, "per_device_train_batch_size": 16, "item_residuals": False, "weight_decay": 0.0}
        args = RecformerFinetuningArguments(output_dir="run", use_cpu=True, recipe="hybrid", **given)
        assert {name: getattr(args, name) for name in given} == given
        words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        parser = HfArgumentParser(RecformerFinetuningArguments)
        (args,) = parser.parse_args_into_dataclasses(["--output_dir", "run", "--recipe", "hybrid", *words])
        assert {name: getattr(args, name) for name in given} == given
        assert args.item_projection is True

    def test_a_small_shop_is_trained_for_more_epochs_unless_their_number_is_given(self):
        common = {"output_dir": "run", "use_cpu": True, "recipe": "hybrid"}
        assert RecformerFinetuningArguments(**common).min_steps == 1500
        assert RecformerFinetuningArguments(**common, num_train_epochs=3).min_steps == 0
        assert RecformerFinetuningArguments(**common, stage2_num_train_epochs=3).min_steps == 0
        assert RecformerFinetuningArguments(**common, num_train_epochs=3, min_steps=50).min_steps == 50

    def test_when_to_evaluate_goes_with_how_often(self):
        common = {"output_dir": "run", "use_cpu": True, "recipe": "hybrid"}
        args = RecformerFinetuningArguments(**common)
        assert (args.eval_strategy.value, args.eval_steps, args.save_steps) == ("steps", 0.1, 0.1)
        args = RecformerFinetuningArguments(**common, eval_strategy="epoch", save_strategy="steps")
        assert (args.eval_strategy.value, args.eval_steps, args.save_steps) == ("epoch", None, 500)
        args = RecformerFinetuningArguments(**common, eval_steps=20)
        assert (args.eval_strategy.value, args.eval_steps) == ("steps", 20)

    def test_the_flat_form_trains_encoder_and_head_at_their_own_rates(self):
        args = RecformerFinetuningArguments(output_dir="run", use_cpu=True, recipe="hybrid-flat")
        assert args.sequence_head == "flat"
        assert (args.learning_rate, args.head_learning_rate) == (1e-4, 1e-3)

    def test_the_plan_says_what_was_chosen(self):
        lines = small_arguments("run", recipe="hybrid", learning_rate=2e-3).plan().splitlines()
        assert lines[0] == "Recipe hybrid: stage 1: skipped; stage 2: item matrix frozen, freeze encoder"
        assert "learning_rate 0.002" in lines[1]
        assert "sequence_head two_level" in lines[1]
        assert "eval_strategy steps, " in lines[1]

    def test_a_search_may_choose_the_head(self):
        args = small_arguments("run").with_settings({"sequence_head": "two_level", "head_learning_rate": 1e-3})
        assert args.head_fields() == {"sequence_head": "two_level"}
        with pytest.raises(ValueError, match="sequence_head must be one of flat, two_level, got 'deep'"):
            args.with_settings({"sequence_head": "deep"})
