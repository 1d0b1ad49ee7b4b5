"""Datasets by name, as command lines give them."""

from __future__ import annotations

from .dataset import SequentialDataset
from .demo import demo_domains, load_demo_domain

DEMO = "demo:"


def open_dataset(name: str, seed: int = 0) -> SequentialDataset:
    """A dataset by name: a folder, a Hub repository, or `demo:kitchen` for a domain of the invented demo shop.

    Args:
        name: what to open.
        seed: of the demo shop.

    Raises:
        FileNotFoundError: if there is no such folder or repository.
        ValueError: for an unknown domain of the demo shop, naming those there are.
    """
    if not name.startswith(DEMO):
        return SequentialDataset.load(name)
    domain = name.removeprefix(DEMO)
    if domain not in demo_domains():
        raise ValueError(f"The demo shop has no domain {domain!r}; it has {', '.join(demo_domains())}.")
    return load_demo_domain(domain, seed=seed)
