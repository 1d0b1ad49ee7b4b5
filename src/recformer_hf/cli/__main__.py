"""`python -m recformer_hf.cli`, which `accelerate launch -m recformer_hf.cli finetune ...` can start."""

from .main import main

if __name__ == "__main__":
    main()
