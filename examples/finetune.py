"""Finetuning of a Recformer on one dataset; the result is a recommender that anyone can load.

    # the invented demo shop: pretrains a tiny model on three domains, finetunes it on the fourth, by the paper's recipe
    # and by the one that ranks best, and compares both with baselines, in minutes
    python examples/finetune.py

    # your own dataset (examples/prepare_data.py creates it), from a pretrained or warm-started model
    python -m recformer_hf.conversion text-encoder allenai/longformer-base-4096 warm-recformer
    accelerate launch examples/finetune.py --model warm-recformer --dataset shop --output_dir finetuned
    accelerate launch --config_file examples/configs/two_cpu_processes.yaml examples/finetune.py ...

    # a two-level head over item vectors instead of the paper's stages: half an hour on one core (docs/training.md)
    python examples/finetune.py --model warm-recformer --dataset shop --output_dir finetuned --recipe hybrid-text

    # to resume an interrupted run: the same command with
    ... --resume_from_checkpoint true

Every field of `RecformerFinetuningArguments` is a flag (`--help`): `--recipe lecture`, `--stage1_freeze
word_embeddings`, `--num_negatives 500`, `--exclude_history true`, `--push_to_hub true`, ...
Afterwards, the folder contains the recommender, its metrics in both protocols, curves, and a model card.
"""

from __future__ import annotations

from recformer_hf.cli.commands.finetune import main

if __name__ == "__main__":
    main(prog="finetune.py")
