"""One file a command; `recformer_hf/cli/main.py` describes what it holds."""
