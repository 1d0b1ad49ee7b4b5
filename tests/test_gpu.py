"""What only a GPU can show: the compiled flex_attention kernel against the definition."""

from __future__ import annotations

import pytest
import torch

from recformer_hf import RecformerForPretraining, RecformerModel
from tests.support.models import enliven, pack, random_batch, small_config

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture
def model() -> RecformerModel:
    config = small_config(attention_window=64, hidden_size=128, max_token_num=1024, attention_probs_dropout_prob=0.0)
    return enliven(RecformerModel(config)).cuda()


def cuda(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.cuda() for name, value in batch.items()}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.15)])
@pytest.mark.parametrize("implementation", [None, "flex_attention", "sdpa"])
def test_implementations_equal_eager(model, implementation, dtype, tolerance):
    batch = cuda(pack(random_batch([1, 20, 33, 64, 65, 300, 1024], model.config)))
    model.to(dtype).train()  # dropout of hidden states is off below; that of attention is off in the config
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    results = []
    for name in ("eager", implementation):
        model.set_attn_implementation(name)
        model.zero_grad()
        output = model(**batch, max_seqlen=1024)
        output.last_hidden_state.square().mean().backward()
        gradients = torch.cat([w.grad.flatten().float() for w in model.parameters() if w.grad is not None])
        results.append((output.last_hidden_state.float(), gradients))
    (expected, expected_gradients), (found, gradients) = results
    assert (found - expected).abs().max() <= tolerance * max(1.0, float(expected.abs().max()))
    assert (gradients - expected_gradients).norm() <= min(10 * tolerance, 0.2) * expected_gradients.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_training_step_under_autocast(model, dtype, dropout):
    model.config.attention_probs_dropout_prob = dropout  # with dropout the blocks serve, without flex_attention does
    for layer in model.encoder.layer:
        layer.attention.self.dropout = dropout
    with torch.autocast("cuda", dtype=dtype):
        output = model.train()(**cuda(pack(random_batch([1, 20, 300, 64], model.config))))
        loss = output.last_hidden_state.square().mean()
    loss.backward()
    assert all(weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None)


def test_a_pretraining_step_does_not_wait_for_the_device(model):
    pretraining = RecformerForPretraining(model.config).cuda().train()
    batch = pack(random_batch([300, 64, 20, 30], model.config))
    labels = torch.where(torch.arange(batch["input_ids"].shape[1]) % 5 == 2, batch["input_ids"], -100)
    labels[:, batch["cu_seqlens"][:-1].long()] = -100
    rows = (labels[0] != -100).nonzero().squeeze(1)
    batch |= {"mlm_input_ids": batch["input_ids"], "mlm_labels": labels, "masked_rows": rows}
    batch = cuda(batch | {"target_ids": torch.tensor([3, 5])})
    for mode in ("default", "error"):  # the first one compiles
        torch.cuda.set_sync_debug_mode(mode)
        try:
            with torch.autocast("cuda", dtype=torch.bfloat16):
                loss = pretraining(**batch, max_seqlen=300).loss
            loss.backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_a_packed_step_does_not_wait_for_the_device(model):
    batch = cuda(pack(random_batch([20, 300, 64], model.config)))
    model.eval()
    model(**batch, max_seqlen=300, pooled_only=True)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        model(**batch, max_seqlen=300, pooled_only=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_item_embeddings_stay_float32_on_the_gpu():
    from recformer_hf import RecformerForSeqRec

    model = RecformerForSeqRec(small_config(num_items=3))
    model.set_item_embeddings(torch.randn(3, 64))
    exact = model.item_embeddings.clone()
    model.cuda().half()
    assert model.item_embeddings.dtype == torch.float32
    assert torch.equal(model.item_embeddings.cpu(), exact)
