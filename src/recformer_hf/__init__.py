"""Recformer: sequential recommendation from item text, as Hugging Face models, tokenizer and trainers."""

from ._version import __version__

__all__ = ["__version__"]
