"""What the neural baselines share: model, transformer over items, losses, batches, trainer."""
