"""Small models and batches that the tests share."""

from __future__ import annotations

from pathlib import Path

import torch

from recformer_hf.configuration_recformer import RecformerConfig

FIXTURES = Path(__file__).parents[1] / "fixtures"
GOLDEN = FIXTURES / "golden"
SHARED = Path(__file__).parents[3] / "shared"


def small_config(**overrides) -> RecformerConfig:
    """Three layers of width 64: large enough for every path, small enough for milliseconds."""
    settings = {
        "vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size":
        128, "attention_window": 8, "max_token_num": 128,
    }  # fmt: skip
    return RecformerConfig(**{**settings, **overrides})


@torch.no_grad()
def enliven(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Weights that make attention peaky and biases matter: std 0.02 would hide most mistakes."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        scale = (
            0.4
            if not weight.ndim or "LayerNorm" in name or "layer_norm" in name or name.endswith("bias")
            else 1.6 * weight.shape[-1] ** -0.5
        )
        noise = torch.randn(weight.shape, generator=generator) * scale
        weight.copy_(noise + 1 if name.endswith("orm.weight") else noise)
    return model


def random_batch(lengths: list[int], config: RecformerConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    """A padded batch of sequences of the given lengths; padding carries ids that would show if it were read."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    place = torch.arange(shape[1])
    batch = {
        "input_ids": torch.randint(4, config.vocab_size, shape, generator=generator),
        "token_type_ids": torch.randint(1, 3, shape, generator=generator),
        "item_position_ids": (place // 6 + 1).clamp(max=config.max_item_embeddings - 1).repeat(shape[0], 1),
        "attention_mask": (place < torch.tensor(lengths)[:, None]).long(),
    }
    batch["input_ids"][:, 0] = config.bos_token_id
    batch["token_type_ids"][:, 0] = 0
    batch["item_position_ids"][:, 0] = 0
    return batch


def pack(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The packed form of a padded batch."""
    real = batch["attention_mask"].bool()
    packed = {name: value[real][None] for name, value in batch.items() if name != "attention_mask"}
    packed["cu_seqlens"] = torch.nn.functional.pad(real.sum(1).cumsum(0), (1, 0)).int()
    return packed


def golden_case(golden: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Entries under a prefix, integers widened again."""
    found = {name[len(prefix) :]: value for name, value in golden.items() if name.startswith(prefix)}
    assert found, prefix
    return {name: value.long() if value.dtype == torch.int16 else value for name, value in found.items()}


def assert_parity(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    """The largest difference is at most `tolerance`, relative to the largest number if that exceeds 1."""
    assert (found - expected).abs().max() <= tolerance * max(1.0, float(expected.abs().max()))
