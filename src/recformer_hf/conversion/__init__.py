"""Recformers from other checkpoints: warm starts from text encoders, and the public replication's files.

Both are one-way copies into a clean model: names, shapes and the saved file are those of a Recformer made here.

```bash
python -m recformer_hf.conversion text-encoder allenai/longformer-base-4096 my-recformer
python -m recformer_hf.conversion replication recformer_ckpt.bin my-recformer --tokenizer allenai/longformer-base-4096
```
"""

from .replication import from_replication
from .text_encoder import from_text_encoder

__all__ = ["from_replication", "from_text_encoder"]
