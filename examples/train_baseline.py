"""Train neural baselines, and rank with them as with a Recformer.

    # all of them, simple ones and a Recformer on the invented demo shop, with one table at the end: minutes on a CPU
    python examples/train_baseline.py

    # one of them on your own dataset (examples/prepare_data.py creates it), with its own default settings
    python examples/train_baseline.py --baseline sasrec --dataset shop --output_dir sasrec

    # other settings: fields of the model's configuration, and any training argument
    ... --settings hidden_size=128 dropout=0.5 loss=gbce --learning_rate 5e-4 --patience 20

    # pretraining on other shops, for baselines that have it; without the users of the dataset
    ... --baseline unisrec --pretraining_datasets games toys --exclude_users --pretraining_epochs 10

    # several processes; resume an interrupted run; upload the result
    accelerate launch --num_processes 2 examples/train_baseline.py ...
    ... --resume_from_checkpoint true
    ... --push_to_hub true

Afterwards, the folder contains the model with its catalogue, its metrics on validation and test in both protocols, the
rank of every test user, curves, and a card. `examples/evaluate.py --model FOLDER` compares it with others.
"""

from __future__ import annotations

from recformer_hf.cli.commands.baseline import main

if __name__ == "__main__":
    main(prog="train_baseline.py")
