"""What a forward refuses, and how it packs the rest."""

from __future__ import annotations

import pytest
import torch

from recformer_hf.encoder.inputs import pack_inputs
from recformer_hf.modeling_recformer import RecformerForPretraining, RecformerForSeqRec, RecformerModel
from tests.support.models import pack, random_batch, small_config


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"input_ids": None}, "either input_ids or inputs_embeds"),
            ({"input_ids": torch.zeros(5, dtype=torch.long)}, r"\[batch, seq_len\]"),
            ({"input_ids": torch.zeros(1, 0, dtype=torch.long)}, "not empty"),
            ({"input_ids": torch.full((1, 6), 320)}, "input_ids must lie between 0 and 319 .*got 320"),
            ({"input_ids": torch.full((1, 6), -1)}, "got -1"),
            ({"input_ids": torch.zeros(1, 6)}, "integers"),
            ({"token_type_ids": torch.full((1, 6), 4)}, "token_type_size is 4.*got 4"),
            ({"item_position_ids": torch.full((1, 6), 51)}, "max_item_embeddings is 51.*got 51"),
            ({"token_type_ids": torch.zeros(1, 5, dtype=torch.long)}, r"token_type_ids has shape \[1, 5\]"),
            ({"attention_mask": torch.ones(2, 6)}, r"attention_mask has shape \[2, 6\]"),
            ({"attention_mask": torch.zeros(1, 6)}, "row 0 has no real token"),
            ({"position_ids": torch.full((1, 6), 130)}, "position_ids must lie between 0 and 129"),
            ({"cu_seqlens": torch.tensor([0, 6])}, "attention_mask must be None"),
        ],
    )
    def test_padded(self, model, change, message):
        batch = {**random_batch([6], model.config), **change}
        with pytest.raises(ValueError, match=message):
            model(**batch)

    @pytest.mark.parametrize("name", ["input_ids", "token_type_ids", "attention_mask"])
    @pytest.mark.parametrize("convert", [torch.Tensor.tolist, torch.Tensor.numpy])
    def test_no_tensors(self, model, name, convert):
        batch = random_batch([6], model.config)
        kind = type(convert(batch[name])).__name__
        with pytest.raises(TypeError, match=rf"{name} must be a torch.Tensor, got {kind}.*return_tensors=\"pt\""):
            model(**{**batch, name: convert(batch[name])})

    def test_a_whole_batch_as_the_first_argument(self, model):
        with pytest.raises(TypeError, match=r"got dict. Unpack the batch: model\(\*\*batch\)"):
            model(random_batch([6], model.config))

    def test_other_numbers(self, model):
        with pytest.raises(ValueError, match=r"input_ids must be integers, got torch\.bool"):
            model(torch.ones(2, 3, dtype=torch.bool))
        with pytest.raises(ValueError, match=r"inputs_embeds must be floating-point numbers, got torch\.int64"):
            model(inputs_embeds=torch.ones(2, 3, 64, dtype=torch.long))

    def test_a_mask_on_another_device(self, model):
        batch = random_batch([6], model.config)
        with pytest.raises(ValueError, match="attention_mask is on meta, but the tokens are on cpu"):
            model(**{**batch, "attention_mask": batch["attention_mask"].to("meta")})
        with pytest.raises(ValueError, match="inputs are on the meta device"):
            model(**{name: value.to("meta") for name, value in batch.items()})

    def test_padding_without_a_mask_would_be_read_as_words(self, model):
        batch = random_batch([6, 3], model.config)
        del batch["attention_mask"]
        batch["input_ids"][1, 3:] = model.config.pad_token_id
        with pytest.raises(
            ValueError, match=r"Row 1 of input_ids ends in padding \(id 1\), but there is no attention_m"
        ):
            model(**batch)
        batch["input_ids"][1, 5] = 7
        model(**batch)  # a padding id elsewhere is a token like any other

    @pytest.mark.parametrize(
        ("bounds", "message"),
        [
            ([1, 6], "must start at 0, got 1"),
            ([0, 5], r"must end at the number of packed tokens \(6\), got 5"),
            ([0, 7], "got 7"),
            ([0, 3, 3, 6], "must grow: sequence 1 would run from 3 to 3"),
            ([0, 4, 2, 6], "must grow: sequence 1"),
            ([0], "at least one sequence"),
            ([[0, 6]], r"\[batch \+ 1\]"),
            ([0.0, 6.0], "integer"),
        ],
    )
    def test_packed(self, model, bounds, message):
        batch = random_batch([6], model.config)
        del batch["attention_mask"]
        with pytest.raises(ValueError, match=message):
            model(**batch, cu_seqlens=torch.tensor(bounds))

    def test_packed_batches_have_one_row(self, model):
        batch = random_batch([6, 6], model.config)
        del batch["attention_mask"]
        with pytest.raises(ValueError, match=r"\[1, total_tokens\]"):
            model(**batch, cu_seqlens=torch.tensor([0, 6]))

    def test_too_long(self, model):
        with pytest.raises(ValueError, match=r"129 tokens, but the position table ends at 128.*max_token_num"):
            model(**random_batch([129], model.config))


def test_padded_and_packed_batches_become_the_same_row(config):
    batch = random_batch([5, 1, 3], config)
    padded, packed = pack_inputs(config, **batch), pack_inputs(config, **pack(batch))
    for name in ("tokens", "token_type_ids", "item_position_ids", "position_ids"):
        assert torch.equal(getattr(padded, name), getattr(packed, name))
    assert padded.layout.lengths == packed.layout.lengths == [5, 1, 3]
    assert padded.position_ids.tolist() == [2, 3, 4, 5, 6, 2, 2, 3, 4]  # from pad_token_id + 1
    real = batch["attention_mask"].bool()
    assert torch.equal(padded.restore(padded.tokens), batch["input_ids"] * real)
    assert torch.equal(packed.restore(packed.tokens), batch["input_ids"][real][None])


@pytest.mark.parametrize("lengths_known", [True, False])
def test_followed_by_copies(config, lengths_known):
    batch = pack_inputs(config, **random_batch([5, 1, 3], config))
    if not lengths_known:  # as on an accelerator
        batch.layout.lengths = None
    twice = batch.followed_by_copies(batch.tokens + 1)
    assert torch.equal(twice.tokens, torch.cat([batch.tokens, batch.tokens + 1]))
    assert twice.layout.lengths == [5, 1, 3, 5, 1, 3]
    assert torch.equal(twice.position_ids, batch.position_ids.repeat(2))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.int8, torch.uint8])
def test_narrow_integers_are_rows_too(model, dtype):
    batch = random_batch([6, 3], model.config)
    batch["input_ids"] %= 120  # fits into 8 bits
    with torch.no_grad():
        expected = model(**batch).last_hidden_state
        narrow = {name: value.to(dtype) for name, value in batch.items()}
        assert torch.equal(model(**narrow).last_hidden_state, expected)


@pytest.mark.skipif(not hasattr(torch.compiler, "is_exporting"), reason="torch 2.7 and later know that they export")
class TestExport:
    """A model says that it cannot be exported before torch fails somewhere inside."""

    @pytest.mark.parametrize("head", [RecformerModel, RecformerForPretraining, RecformerForSeqRec])
    def test_export(self, head):
        model = head(small_config(**({"num_items": 5} if head is RecformerForSeqRec else {}))).eval()
        with pytest.raises(
            NotImplementedError, match=r"cannot be exported.*packs a batch.*torch.compile.*encode_items"
        ):
            torch.export.export(model, (), random_batch([6, 3], model.config))

    def test_trace_and_script(self, model):
        batch = random_batch([6, 3], model.config)
        with pytest.raises(NotImplementedError, match="cannot be exported, traced or scripted"):
            torch.jit.trace(model, example_kwarg_inputs=batch)
        with pytest.raises(NotImplementedError, match="cannot be exported, traced or scripted"):
            torch.jit.script(model)
