"""The command line `recformer`: `main.py` finds a command, and each has a file in `commands/`."""
