"""python -m recformer_hf.serving --model shop --port 8000"""

from transformers import HfArgumentParser

from .serve import ServeArguments, serve
from .settings import ServingLimits

if __name__ == "__main__":
    serve(*HfArgumentParser((ServeArguments, ServingLimits)).parse_args_into_dataclasses())  # type: ignore[arg-type]
