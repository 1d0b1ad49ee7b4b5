"""Opening a dataset by the name that was given on a command line."""

from __future__ import annotations

from .dataset import SequentialDataset
from .demo import demo_domains, load_demo_domain

DEMO = "demo:"
"""Prefix of the demo shop's domains."""


def open_dataset(name: str, seed: int = 0) -> SequentialDataset:
    """Open a dataset by name: a folder, a Hub repository, or `demo:kitchen` for a domain of the invented demo shop.

    Args:
        name: folder, repository, or `demo:` and the name of a domain.
        seed: seed of the demo shop; other datasets ignore it.

    Raises:
        FileNotFoundError: if there is no such folder or repository.
        ValueError: if the demo shop has no such domain; the message lists its domains.
    """
    if not name.startswith(DEMO):
        return SequentialDataset.load(name)
    domain = name.removeprefix(DEMO)
    if domain not in demo_domains():
        raise ValueError(f"The demo shop has no domain {domain!r}; its domains are {', '.join(demo_domains())}.")
    return load_demo_domain(domain, seed=seed)
