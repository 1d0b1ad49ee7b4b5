"""Pretrain a Recformer on the sequences of several shops.

    # the invented demo shop: two domains to train on, one to validate on, two to rank (one of them not trained on)
    python examples/pretrain.py

    # datasets from prepare_data.py (folders or Hub ids), warm-started from a text encoder, with the paper's settings
    python examples/pretrain.py --datasets automotive electronics home --validation_dataset cds \
        --zero_shot_datasets scientific=prepared/scientific games=prepared/games \
        --text_encoder allenai/longformer-base-4096 --output_dir pretrained --eval_strategy steps --eval_steps 2000 \
        --bf16

    # continue from a Recformer checkpoint, or train a model from scratch
    ... --model my-recformer
    ... --hidden_size 256 --num_hidden_layers 4 --num_attention_heads 4 --vocab_size 16000

    # several processes; large batches in little memory; resume an interrupted run
    accelerate launch --config_file examples/configs/multi_gpu.yaml --num_processes 4 examples/pretrain.py ... \
        --per_device_train_batch_size 16
    ... --per_device_train_batch_size 512 --contrastive_chunk_size 16
    ... --resume_from_checkpoint true

    # strict transfer where datasets share user ids: exclude the users of a target dataset
    ... --exclude_users_of prepared/scientific

Afterwards, the folder contains the best model, its tokenizer, and `zero_shot.jsonl` and `zero_shot.png`.
"""

from __future__ import annotations

from recformer_hf.cli.commands.pretrain import main

if __name__ == "__main__":
    main(prog="pretrain.py")
