"""Validation by the losses of pretraining, on a domain that is not trained on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils import gather_object

from ...data.collators import PretrainingCollator
from ...data.dataset import SequentialDataset
from ...data.sampling import SequenceSampler
from ...data.tokenized_catalog import TokenizedCatalog
from ...data.torch_datasets import TrainingSequences
from ...modeling_recformer import RecformerForPretraining
from ...recommending.vectors import evaluating
from ...tokenization_recformer import RecformerTokenizer
from .contrastive import loss_counts, mlm_sums, pair_loss

if TYPE_CHECKING:
    from accelerate import Accelerator

VALIDATION_SEED = 0
"""Seed of all draws of validation. It does not depend on the run's seed, so that runs of different seeds compare."""


class DomainValidation:
    """Batches of a domain's training sequences, and the losses over them.

    Args:
        dataset: the domain. Its `train` split is measured, with one target per sequence.
        catalog: the domain's catalogue, tokenized.
        tokenizer: the tokenizer of that catalogue.
        batch_size: most pairs of a batch; the sizes of the batches are as equal as possible. A batch is never split
            over processes: its items are the candidates of its contexts.
        mlm_probability: share of tokens to mask; 0 for no MLM losses.
        max_sequences: take at most this many sequences, drawn once; `None` for all.
    """

    def __init__(
        self,
        dataset: SequentialDataset,
        catalog: TokenizedCatalog,
        tokenizer: RecformerTokenizer,
        *,
        batch_size: int,
        mlm_probability: float,
        max_sequences: int | None = None,
    ) -> None:
        self.dataset = dataset
        self.data = TrainingSequences([dataset.train])
        self.collator = PretrainingCollator([catalog], tokenizer, seed=VALIDATION_SEED, mlm_probability=mlm_probability)
        share = 1.0 if max_sequences is None else min(max_sequences / len(self.data), 1.0)
        sampler = SequenceSampler(
            self.data.users, self.collator.lengths(self.data), seed=VALIDATION_SEED, batch_size=batch_size,
            weights=[share],
        )  # fmt: skip
        self.batches = list(sampler.plan(0))

    def turns(self, rank: int, world_size: int) -> range:
        """The turns of a process. All processes have the same number of turns; a turn past the last batch takes that
        batch again.

        Args:
            rank: rank of the process.
            world_size: number of processes.
        """
        return range(rank, -(-len(self.batches) // world_size) * world_size, world_size)

    def batch_of(self, turn: int) -> np.ndarray:
        """The batch of a turn, an `INDEX` array `[batch]`."""
        return self.batches[min(turn, len(self.batches) - 1)]

    @torch.no_grad()
    def measure(
        self, model: RecformerForPretraining, batches: Iterable[dict[str, Any]], accelerator: Accelerator
    ) -> tuple[dict[str, float], int]:
        """Losses and in-batch accuracy, the same on every process and for any number of processes.

        Args:
            model: the model to measure.
            batches: composed batches, in the order of this process's `turns`.
            accelerator: accelerator of the run.

        Returns:
            the metrics, and the number of pairs that they are means over.
        """
        config, rows = model.config, []
        turns = self.turns(accelerator.process_index, accelerator.num_processes)
        with evaluating(model), accelerator.autocast():
            for turn, batch in zip(turns, batches, strict=True):
                outputs, counts = model(**batch), loss_counts(batch)
                contrastive, correct = pair_loss(
                    outputs.context_embeds, outputs.item_embeds, batch["target_ids"], config.temperature
                )
                sums = torch.stack([contrastive, *mlm_sums(outputs, counts), correct])
                rows.append((turn, torch.cat([sums.float(), counts]).cpu().numpy()))
        # Summed in the order of the batches, in float64: the order of processes must not change a digit.
        gathered = dict(gather_object(rows) if accelerator.num_processes > 1 else rows)
        in_order = np.stack([gathered[turn] for turn in range(len(self.batches))])
        *sums_of, correct_pairs, pairs, in_contexts, in_items = in_order.sum(0, dtype=np.float64).tolist()
        contrastive, context, item = (
            total / max(count, 1) for total, count in zip(sums_of, (pairs, in_contexts, in_items), strict=True)
        )
        metrics = {"loss": contrastive + config.mlm_weight * (context + item), "contrastive_loss": contrastive}
        if self.collator.masking is not None:
            mlm = (sums_of[1] + sums_of[2]) / max(in_contexts + in_items, 1)
            metrics |= {"mlm_loss": mlm, "mlm_context_loss": context, "mlm_item_loss": item}
        return metrics | {"accuracy": correct_pairs / pairs}, int(pairs)
