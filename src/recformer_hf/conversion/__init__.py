"""Converts other checkpoints to Recformers: text encoders for a warm start, and files of the public replication.

Both copy weights into a new model. Its names, shapes and saved files are those of any other Recformer.

```bash
python -m recformer_hf.conversion text-encoder allenai/longformer-base-4096 my-recformer
python -m recformer_hf.conversion replication recformer_ckpt.bin my-recformer --tokenizer allenai/longformer-base-4096
```
"""

from .replication import from_replication
from .text_encoder import from_text_encoder

__all__ = ["from_replication", "from_text_encoder"]
