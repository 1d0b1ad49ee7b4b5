"""Item vectors as files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch.nn.functional as F

from recformer_hf.recommending.export import write_embeddings
from tests.support.shop import ITEMS, vectors


class TestExport:
    IDS = ["a", "b", "ü", "d"]

    def test_npy(self, tmp_path):
        items = vectors(4)
        write_embeddings(tmp_path / "out.npy", items, self.IDS, normalize=False)
        assert np.array_equal(np.load(tmp_path / "out.npy"), items.numpy())
        assert json.loads((tmp_path / "out.ids.json").read_text(encoding="utf-8")) == self.IDS

    def test_parquet(self, tmp_path, monkeypatch):
        import pyarrow.parquet as pq

        monkeypatch.setattr("recformer_hf.recommending.export.ROWS_AT_ONCE", 3)
        items = vectors(4)
        write_embeddings(tmp_path / "out.parquet", items, self.IDS, normalize=True)
        table = pq.read_table(tmp_path / "out.parquet")
        assert table["item_id"].to_pylist() == self.IDS
        found = np.array(table["embedding"].to_pylist(), dtype=np.float32)
        np.testing.assert_allclose(found, F.normalize(items, dim=1).numpy(), atol=1e-7)

    def test_another_ending(self, tmp_path):
        with pytest.raises(ValueError, match=r"written as \.parquet or \.npy"):
            write_embeddings(tmp_path / "out.csv", vectors(2), ["a", "b"], normalize=False)

    def test_export(self, model, encoder, tmp_path):
        model.export_embeddings(tmp_path / "items.npy")
        assert np.array_equal(np.load(tmp_path / "items.npy"), model.item_embeddings.numpy())
        assert json.loads((tmp_path / "items.ids.json").read_text()) == list(ITEMS)
        with pytest.raises(ValueError, match="no items"):
            encoder.export_embeddings(tmp_path / "items.npy")
