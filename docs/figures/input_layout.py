"""Draws docs/figures/input_layout.svg: how a history becomes the encoder's input.

python docs/figures/input_layout.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

TOKENS = ["<s>", "title", "whet", "stone", "brand", "Forge", "title", "chef", "knife", "brand", "Forge"]
TYPES = [0, 1, 2, 2, 1, 2, 1, 2, 2, 1, 2]
ITEMS = [0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]
TYPE_COLOURS = {0: "#d9d2e9", 1: "#cfe2f3", 2: "#d9ead3"}
ITEM_COLOURS = {0: "#d9d2e9", 1: "#fce5cd", 2: "#fff2cc"}


def row(axes: plt.Axes, y: float, name: str, cells: list[str], colours: list[str]) -> None:
    axes.text(-0.25, y + 0.4, name, ha="right", va="center", fontsize=10)
    for x, (cell, colour) in enumerate(zip(cells, colours, strict=True)):
        axes.add_patch(Rectangle((x + 0.04, y), 0.92, 0.8, facecolor=colour, edgecolor="#888888", linewidth=0.6))
        axes.text(x + 0.5, y + 0.4, cell, ha="center", va="center", fontsize=9)


def main() -> None:
    figure, axes = plt.subplots(figsize=(11, 3.6))
    count = len(TOKENS)
    kinds = [TYPE_COLOURS[kind] for kind in TYPES]
    row(axes, 4, "token", TOKENS, kinds)
    row(axes, 3, "token type", [str(kind) for kind in TYPES], kinds)
    row(axes, 2, "item position", [str(item) for item in ITEMS], [ITEM_COLOURS[item] for item in ITEMS])
    row(axes, 1, "token position", [str(place + 2) for place in range(count)], ["#efefef"] * count)
    for start, end, label in ((1, 6, "newest item"), (6, 11, "the item before it")):
        axes.plot([start + 0.06, end - 0.06], [5.05, 5.05], color="#444444", linewidth=1.2)
        axes.text((start + end) / 2, 5.15, label, ha="center", va="bottom", fontsize=10)
    axes.text(0.5, 5.15, "global", ha="center", va="bottom", fontsize=10)
    axes.text(
        count / 2, 0.35, "the four embeddings of a column are summed, layer-normalised and dropped out", ha="center",
        va="center", fontsize=10, style="italic",
    )  # fmt: skip
    axes.set_xlim(-1.9, count + 0.1)
    axes.set_ylim(0, 5.8)
    axes.axis("off")
    figure.savefig(Path(__file__).with_name("input_layout.svg"), bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
