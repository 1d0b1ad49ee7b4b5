"""What is said about a checkpoint: a line for another head, an error that names the file or the weight for a fault."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from packaging.version import Version
from safetensors.torch import load_file, save_file
from torch.nn.utils.parametrizations import weight_norm
from torch.testing._internal.two_tensor import TwoTensor
from transformers import BertConfig, BertModel

from recformer_hf.encoder.checkpoint import HeadChange, check_loadable, check_savable, first_few
from recformer_hf.modeling_recformer import RecformerForPretraining, RecformerForSeqRec, RecformerModel
from tests.support.models import enliven, small_config

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, head in (
        ("model", RecformerModel),
        ("pretraining", RecformerForPretraining),
        ("items", RecformerForSeqRec),
    ):
        settings = {"num_items": 7} if name == "items" else {}
        enliven(head(small_config(**settings))).save_pretrained(folder / name)
    enliven(RecformerModel(small_config())).save_pretrained(folder / "sharded", max_shard_size="100KB")
    return folder


LINES = {
    ("model", RecformerModel): None,
    ("model", RecformerForPretraining): "lm_head starts with new weights",
    ("model", RecformerForSeqRec): "there are no items yet",
    ("pretraining", RecformerModel): "its lm_head was dropped",
    ("pretraining", RecformerForPretraining): None,
    ("pretraining", RecformerForSeqRec): "its lm_head was dropped, there are no items yet",
    ("items", RecformerModel): "its item_embeddings were dropped",
    ("items", RecformerForPretraining): "its item_embeddings were dropped, lm_head starts with new weights",
    ("items", RecformerForSeqRec): None,
}


class TestOneLine:
    @pytest.fixture(scope="class")
    def streams(self, saved) -> list[str]:
        """What a newcomer sees of each load of `LINES`, in a process of its own, because it goes to the streams."""
        code = "import recformer_hf\n" + "".join(
            f"print('next load')\nrecformer_hf.{target.__name__}.from_pretrained({str(saved / source)!r})\n"
            for source, target in LINES
        )
        # torch 2.6, unlike 2.13, keeps a temporary folder until the process ends, which warns of it.
        old = Version(torch.__version__) < Version("2.13")
        allowed = ["-W", "ignore:Implicitly cleaning up:ResourceWarning"] if old else []
        done = subprocess.run(
            [sys.executable, "-u", "-W", "error", *allowed, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        nothing, *loads = done.stdout.split("next load\n")
        assert nothing == ""
        return loads

    @pytest.mark.parametrize("number", range(len(LINES)), ids=[f"{a}-{b.__name__}" for a, b in LINES])
    def test_what_changed_with_the_head(self, saved, streams, number):
        (source, target), said = list(LINES.items())[number]
        lines = [line for line in streams[number].splitlines() if "it/s" not in line and line.strip()]
        assert lines == ([f"Loaded {saved / source} into a {target.__name__}: {said}."] if said else [])

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"history_bias": True}, "history_bias"),
            ({"item_projection": True, "item_residuals": True}, "item_residuals, projection"),
            ({"sequence_head": "two_level", "learned_temperature": True}, "history_transformer, log_temperature"),
        ],
    )
    def test_parts_of_a_scoring_head_that_start_fresh(self, saved, caplog, fields, said):
        RecformerForSeqRec.from_pretrained(saved / "items", **fields)
        assert f": these parts of its scoring head have not been trained: {said}." in caplog.text

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"history_bias": False, "item_residuals": False}, r"another head \(history_bias, item_residuals\)"),
            ({"head_num_layers": 1}, r"another head \(sequence_head, head_size or head_num_layers\)"),
        ],
    )
    def test_a_scoring_head_that_the_configuration_does_not_have(self, saved, tmp_path, fields, said):
        model = RecformerForSeqRec.from_pretrained(saved / "items")
        model.set_head(sequence_head="two_level", history_bias=True, item_residuals=True)
        model.save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=rf"unexpected weights .*{said}\. .*model\.set_head\(\.\.\.\)\.$"):
            RecformerForSeqRec.from_pretrained(tmp_path, **fields)

    def test_the_caller_still_gets_the_names(self, saved):
        _, info = RecformerForSeqRec.from_pretrained(saved / "pretraining", output_loading_info=True)
        assert info["missing_keys"] == {"item_embeddings"}
        assert "lm_head.dense.weight" in info["unexpected_keys"]

    def test_a_weight_of_the_head_that_no_head_has_is_an_error(self, saved, tmp_path):
        shutil.copytree(saved / "pretraining", tmp_path / "x")
        weights = load_file(tmp_path / "x" / WEIGHTS) | {"lm_head.other": torch.zeros(2)}
        save_file(weights, tmp_path / "x" / WEIGHTS, {"format": "pt"})
        with pytest.raises(ValueError, match=r"unexpected weights lm_head\.other"):
            RecformerForPretraining.from_pretrained(tmp_path / "x")

    def test_the_order_of_the_parts(self):
        change = HeadChange(frozenset({"item_embeddings"}), frozenset({"lm_head.dense.weight"}))
        assert change.note(0) == "its lm_head was dropped, there are no items yet"
        assert "names 5 items but holds no item_embeddings" in change.note(5)
        assert HeadChange().note(5) == ""


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n")


class TestDamagedFiles:
    @pytest.mark.parametrize("damage", [cut, emptied, pointer])
    @pytest.mark.parametrize("source", ["model", "sharded"])
    def test_weights(self, saved, tmp_path, source, damage):
        shutil.copytree(saved / source, tmp_path / "x")
        path = sorted((tmp_path / "x").glob("*.safetensors"))[-1]
        damage(path)
        with pytest.raises(
            ValueError, match=r"cannot be loaded: (\S+) is damaged \([\d,]+ bytes; .*copy or download"
        ) as e:
            RecformerModel.from_pretrained(tmp_path / "x")
        assert str(path) in str(e.value)
        assert str(sorted(path.parent.glob("*.safetensors"))[0]) not in str(e.value) or source == "model"

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            ("{", "Expecting"),
            ("{}", "no weight_map"),
            ("[]", "a JSON list instead of an object"),
            ('{"weight_map": {"a": 3}}', "the file of a is 3, which is no name of a file"),
            ('{"weight_map": {"a": "../sharded/model-00001-of-00003.safetensors"}}', "which is no name of a file"),
            ('{"weight_map": {"a": "other.safetensors"}}', "other.safetensors, which has a, is missing"),
        ],
    )
    def test_index(self, saved, tmp_path, content, problem):
        shutil.copytree(saved / "sharded", tmp_path / "x")
        (tmp_path / "x" / "model.safetensors.index.json").write_text(content)
        with pytest.raises(ValueError, match=rf"index\.json is damaged \(.*{problem}"):
            RecformerModel.from_pretrained(tmp_path / "x")

    def test_configuration(self, saved, tmp_path):
        shutil.copytree(saved / "model", tmp_path / "x")
        (tmp_path / "x" / "config.json").write_text("[1]")
        with pytest.raises(ValueError, match=r"config\.json is damaged \(a JSON list instead of an object\)"):
            RecformerModel.from_pretrained(tmp_path / "x")
        (tmp_path / "x" / "config.json").unlink()
        with pytest.raises(ValueError, match=r"has no config\.json, so the default configuration was used"):
            RecformerModel.from_pretrained(tmp_path / "x")

    def test_the_file_instead_of_its_folder(self, saved):
        with pytest.raises(OSError, match="is a file; from_pretrained takes the folder that holds"):
            RecformerModel.from_pretrained(saved / "model" / WEIGHTS)

    def test_errors_about_arguments_stay_as_they_are(self, saved):
        with pytest.raises(ValueError, match=r"^attn_implementation must be one of"):
            RecformerModel.from_pretrained(saved / "model", attn_implementation="other")

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    def test_numbers(self, saved, tmp_path, value, dtype):
        shutil.copytree(saved / "items", tmp_path / "x")
        weights = load_file(tmp_path / "x" / WEIGHTS)
        weights["recformer.encoder.layer.1.output.dense.weight"][3, 4] = value
        save_file(weights, tmp_path / "x" / WEIGHTS, {"format": "pt"})
        with pytest.raises(
            ValueError, match=r"NaN or infinite values in recformer\.encoder\.layer\.1\.output\.dense\.wei"
        ):
            RecformerForSeqRec.from_pretrained(tmp_path / "x", dtype=dtype)


class TestSaving:
    def test_quantised_weights_are_refused_before_anything_is_written(self, tmp_path):
        model = RecformerModel(small_config())
        weight = model.encoder.layer[1].output.dense.weight.detach()
        model.encoder.layer[1].output.dense.weight = torch.nn.Parameter(TwoTensor(weight, weight), requires_grad=False)
        with pytest.raises(ValueError, match=r"1 weights are quantised \(encoder\.layer\.1\.\S+ is a TwoTensor\)"):
            model.save_pretrained(tmp_path / "x")
        assert not (tmp_path / "x").exists()

    @pytest.mark.parametrize("sizes", [("1GB", "100KB"), ("100KB", "1GB"), ("100KB", "200KB")])
    @pytest.mark.parametrize("variant", [None, "fp16"])
    def test_weights_of_an_older_model_in_other_files_are_removed(self, tmp_path, sizes, variant):
        for size in sizes:
            model = enliven(RecformerModel(small_config()))
            model.save_pretrained(tmp_path, max_shard_size=size, variant=variant)
        loaded = RecformerModel.from_pretrained(tmp_path, variant=variant)
        assert all(torch.equal(*pair) for pair in zip(loaded.parameters(), model.parameters(), strict=True))
        whole = [path.name for path in tmp_path.glob("*.safetensors*") if "-of-" not in path.name]
        assert len(whole) == 1  # the one file, or the index of several

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            (
                lambda model: setattr(model.config, "num_hidden_layers", 1),
                r"unknown weights recformer\.encoder\.layer\.1",
            ),
            (
                lambda model: setattr(model.config, "vocab_size", 50),
                r"word_embeddings\.weight is \[\d+, 64\], expected \[50",
            ),
            (lambda model: setattr(model.config, "temperature", 0.0), "temperature must be positive"),
            (
                lambda model: weight_norm(model.recformer.encoder.layer[0].output.dense),
                r"missing weights recformer\.encoder\.layer\.0\.output\.dense\.weight",
            ),
            (
                lambda model: setattr(model, "recformer", torch.compile(model.recformer, backend="eager")),
                r"unknown weights recformer\._orig_mod",
            ),
        ],
    )
    def test_what_could_not_be_loaded_is_refused_before_anything_is_written(self, tmp_path, change, named):
        model = RecformerForSeqRec(small_config(num_items=7))
        check_loadable(model)
        change(model)
        with pytest.raises(ValueError, match=named):
            model.save_pretrained(tmp_path / "x")
        assert not (tmp_path / "x").exists()

    def test_a_subclass_with_arguments_of_its_own(self, tmp_path):
        class Larger(RecformerModel):
            def __init__(self, config, width):
                super().__init__(config)
                self.more = torch.nn.Linear(width, width)

        Larger(small_config(), 3).save_pretrained(tmp_path)
        assert Larger.from_pretrained(tmp_path, 3).more.weight.shape == (3, 3)

    def test_what_transformers_can_save_is_let_through(self):
        model = BertModel(BertConfig(
            vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
        ))  # fmt: skip
        check_savable(model)
        weight = torch.zeros(8, 8)
        model.encoder.layer[0].output.dense.weight = torch.nn.Parameter(TwoTensor(weight, weight), requires_grad=False)
        model.hf_quantizer = object()  # knows how to save its weights, if they belong to a sub-module
        check_savable(model)
        with pytest.raises(ValueError, match="save_pretrained cannot write them"):
            check_savable(model, ["item_embeddings"])


def test_first_few():
    assert first_few([]) == "none"
    assert first_few(["a", "b"]) == "a, b"
    assert first_few([str(n) for n in range(10)], 2) == "0, 1 and 8 more"
