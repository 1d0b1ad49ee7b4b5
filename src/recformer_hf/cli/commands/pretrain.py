"""Pretrains a Recformer on the sequences of several shops.

    # the invented demo shop: two domains to train on, one to validate on, two to rank (one of them not trained on)
    recformer pretrain

    # datasets of `recformer prepare` (folders or Hub ids), warm-started from a text encoder, with the paper's settings
    recformer pretrain --datasets automotive electronics home --validation_dataset cds \\
        --zero_shot_datasets scientific=prepared/scientific --text_encoder allenai/longformer-base-4096 \\
        --output_dir pretrained --eval_strategy steps --eval_steps 2000 --bf16

    # several processes
    accelerate launch --num_processes 4 -m recformer_hf.cli pretrain ... --per_device_train_batch_size 16

Afterwards, the folder contains the best model, its tokenizer, and `zero_shot.jsonl` and `zero_shot.png`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

from transformers import set_seed

from ...configuration_recformer import RecformerConfig
from ...conversion import from_text_encoder
from ...data.dataset import SequentialDataset
from ...data.opening import open_dataset
from ...modeling_recformer import RecformerForPretraining
from ...tokenization_recformer import RecformerTokenizer
from ...training import RecformerPretrainingArguments, RecformerPretrainingTrainer
from ...training.pretraining.zero_shot import without_users
from ..parser import CommandParser
from ..running import loading, running
from ..training_output import say_summary, show_lines

COMMON = (
    "datasets", "validation_dataset", "zero_shot_datasets", "text_encoder", "model", "output_dir", "max_token_num",
    "num_train_epochs", "learning_rate", "per_device_train_batch_size", "contrastive_chunk_size", "eval_strategy",
    "eval_steps", "bf16", "resume_from_checkpoint", "push_to_hub",
)  # fmt: skip
RESUME = "The same command with --resume_from_checkpoint true continues from the last checkpoint."

# The run without arguments, minutes on a CPU: a tiny model from scratch. It averages its tokens' states, because from
# random weights that learns faster than the state of `<s>` does.
DEMO: dict[str, Any] = {
    "datasets": ["demo:garden", "demo:music"],
    "validation_dataset": "demo:outdoor",
    "zero_shot_datasets": ["garden=demo:garden", "kitchen=demo:kitchen"],
    "hidden_size": 64,
    "pooler_type": "avg",
    "max_token_num": 256,
    "output_dir": "demo-pretrained",
    "num_train_epochs": 3,
    "learning_rate": 1e-3,
    "logging_steps": 20,
}
# A caller who names a dataset or a model does not want to train on the demo shop.
NEED_DATASETS = (
    "text_encoder", "model", "tokenizer", "validation_dataset", "zero_shot_datasets", "dataset_weights",
    "exclude_users_of",
)  # fmt: skip


@dataclass
class DataArguments:
    """The datasets. Each is a folder from prepare_data.py, a Hub id, or demo:NAME for a domain of the demo shop."""

    datasets: list[str] | None = field(default=None, metadata={"help": "Datasets to train on (their train splits)."})
    dataset_weights: list[float] | None = field(
        default=None, metadata={"help": "How often an epoch goes through each of them. None: once."}
    )
    validation_dataset: str | None = field(
        default=None, metadata={"help": "A held-out domain: the best model is the one with the best accuracy on it."}
    )
    zero_shot_datasets: list[str] | None = field(
        default=None, metadata={"help": "Datasets to rank at every evaluation, each as NAME=DATASET."}
    )
    exclude_users_of: list[str] | None = field(
        default=None, metadata={"help": "Exclude the users of these datasets, by id, from training and validation."}
    )


@dataclass
class ModelArguments:
    """The model to start from: a text encoder, a Recformer, or random weights.

    A setting that is None stays as it is in a Recformer checkpoint.
    """

    text_encoder: str | None = field(
        default=None,
        metadata={"help": "Warm start from BERT, RoBERTa, XLM-R or Longformer: a folder or a Hub id."},
    )
    model: str | None = field(
        default=None, metadata={"help": "Continue from a Recformer checkpoint: a folder or a Hub id."}
    )
    tokenizer: str | None = field(
        default=None, metadata={"help": "From scratch: a tokenizer. None: one is trained on the catalogues."}
    )
    vocab_size: int = field(default=8000, metadata={"help": "From scratch: vocabulary size of the tokenizer to train."})
    hidden_size: int = field(default=128, metadata={"help": "From scratch: width."})
    num_hidden_layers: int = field(default=2, metadata={"help": "From scratch: layers."})
    num_attention_heads: int = field(default=4, metadata={"help": "From scratch: heads."})
    attention_window: int | None = field(
        default=None, metadata={"help": "Tokens around each token that it attends to. None: 64."}
    )
    max_token_num: int | None = field(default=None, metadata={"help": "Tokens per sequence. None: 1024."})
    max_attr_num: int | None = field(default=None, metadata={"help": "Attributes per item. None: 3."})
    max_attr_length: int | None = field(default=None, metadata={"help": "Tokens per attribute. None: 32."})
    max_item_embeddings: int | None = field(
        default=None, metadata={"help": "One more than the number of items per history. None: 51."}
    )
    pooler_type: Literal["cls", "avg"] | None = field(
        default=None, metadata={"help": "How a sequence becomes one vector. None: cls."}
    )
    temperature: float | None = field(
        default=None, metadata={"help": "Divides the cosines of the contrastive loss. None: 0.05."}
    )
    mlm_weight: float | None = field(default=None, metadata={"help": "Weight of the MLM losses. None: 0.1."})

    def settings(self) -> dict[str, Any]:
        """The fields of the configuration that were given."""
        names = ("attention_window", "max_token_num", "max_attr_num", "max_attr_length", "max_item_embeddings")
        values = {name: getattr(self, name) for name in (*names, "pooler_type", "temperature", "mlm_weight")}
        return {name: value for name, value in values.items() if value is not None}


def named_datasets(names: list[str]) -> dict[str, SequentialDataset]:
    pairs = [name.partition("=") for name in names]
    bare = [name for name, equals, _ in pairs if not equals]
    if bare:
        raise ValueError(f"--zero_shot_datasets takes NAME=DATASET, got {', '.join(bare)}.")
    return {name: open_dataset(dataset) for name, _, dataset in pairs}


def load_model(
    arguments: ModelArguments, datasets: list[SequentialDataset]
) -> tuple[RecformerForPretraining, RecformerTokenizer]:
    settings = arguments.settings()
    limits = {name: value for name, value in settings.items() if name.startswith("max_")}
    if arguments.text_encoder is not None:
        with loading(arguments.text_encoder, "--text_encoder"):
            return from_text_encoder(arguments.text_encoder, **settings)
    if arguments.model is not None:
        with loading(arguments.model):
            model = RecformerForPretraining.from_pretrained(arguments.model, **settings)
            return model, RecformerTokenizer.from_pretrained(arguments.model, **limits)
    if arguments.tokenizer is not None:
        with loading(arguments.tokenizer, "--tokenizer"):
            tokenizer = RecformerTokenizer.from_pretrained(arguments.tokenizer, **limits)
    else:
        items = chain.from_iterable(dataset.catalog for dataset in datasets)
        tokenizer = RecformerTokenizer.train_from_catalog(items, arguments.vocab_size, **limits)
    config = RecformerConfig(
        vocab_size=len(tokenizer),
        hidden_size=arguments.hidden_size,
        num_hidden_layers=arguments.num_hidden_layers,
        num_attention_heads=arguments.num_attention_heads,
        intermediate_size=4 * arguments.hidden_size,
        **settings,
    )
    return RecformerForPretraining(config), tokenizer


def parse(
    command_line: Sequence[str] | None, prog: str = "recformer pretrain"
) -> tuple[DataArguments, ModelArguments, RecformerPretrainingArguments]:
    parser = CommandParser([DataArguments, ModelArguments, RecformerPretrainingArguments], prog, __doc__, COMMON)
    given = parser.given(command_line)  # the defaults depend on what is given, so it is parsed twice
    if given.text_encoder is None and given.model is None:
        parser.set_defaults(freeze_word_embeddings=False)  # random word embeddings would stay random
    if given.datasets is None:
        instead = [name for name in NEED_DATASETS if getattr(given, name) is not None]
        if instead:
            raise ValueError(
                f"Give --datasets, to train on, with --{instead[0]}. The demo shop is used only if neither is given."
            )
        parser.set_defaults(**DEMO)
    data, start, args = parser.parse(command_line)
    return data, start, args


def run(data: DataArguments, start: ModelArguments, args: RecformerPretrainingArguments) -> RecformerPretrainingTrainer:
    if start.text_encoder is not None and start.model is not None:
        raise ValueError("Got both --text_encoder and --model; give one of the two.")
    excluded = [open_dataset(name) for name in data.exclude_users_of or []]
    datasets = [without_users(open_dataset(name), excluded) for name in data.datasets or []]
    validation = None if data.validation_dataset is None else open_dataset(data.validation_dataset)
    set_seed(args.seed)  # before the model is created, because it decides random weights
    model, tokenizer = load_model(start, datasets)
    trainer = RecformerPretrainingTrainer(
        model,
        args,
        train_datasets=datasets,
        processing_class=tokenizer,
        eval_dataset=None if validation is None else without_users(validation, excluded),
        zero_shot_datasets=named_datasets(data.zero_shot_datasets or []),
        dataset_weights=data.dataset_weights,
    )
    show_lines(trainer)
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    trainer.finish()
    if args.push_to_hub:
        trainer.push_to_hub()
    return trainer


def summarise(trainer: RecformerPretrainingTrainer) -> None:
    state, args = trainer.state, trainer.args
    lines = []
    metric = f"_ndcg@{args.ranking_ks[0]}"
    for row in trainer.zero_shot_log.rows:
        curve = [f"{name} {value:.4f}" for name, value in row.items() if name.endswith(metric)]
        lines.append(f"  zero-shot at step {row['step']:6,}: {', '.join(curve)}")
    best = state.best_global_step or state.global_step
    say_summary(
        f"Pretrained for {state.global_step:,} steps; the best weights are of step {best:,}.",
        lines, str(args.output_dir), "the model, its tokenizer, model card and curves",
        [f"recformer finetune --model {args.output_dir} --dataset SHOP --output_dir finetuned"],
    )  # fmt: skip


def main(command_line: Sequence[str] | None = None, prog: str = "recformer pretrain") -> None:
    with running(prog, RESUME):
        trainer = run(*parse(command_line, prog))
        if trainer.is_world_process_zero():
            summarise(trainer)
        trainer.accelerator.end_training()
