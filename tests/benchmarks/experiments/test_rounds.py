"""Several shops joined and dealt out over rounds, and the mean of two models: what the rounds are made of."""

from __future__ import annotations

import torch
from safetensors.torch import load_file

from benchmarks.experiments import rounds
from recformer_hf import RecformerForSeqRec, RecformerTokenizer
from recformer_hf.data.demo import load_demo_domain
from tests.support.training import small_dataset, small_model, small_tokenizer


def test_rounds_share_out_the_users_of_every_shop():
    shops = {name: load_demo_domain(name, num_users=61, num_items=60) for name in ("kitchen", "garden")}
    parts = rounds.joined(shops, 3)
    assert len({part.catalog.fingerprint for part in parts}) == 1
    users = [user for part in parts for user in part.train.user_ids.to_pylist()]
    assert len(users) == len(set(users)) == sum(len(shop.train) for shop in shops.values())
    shares = [[user.split(":")[0] for user in part.train.user_ids.to_pylist()] for part in parts]
    assert all(19 <= share.count(shop) <= 22 for share in shares for shop in shops)


def test_a_joined_sequence_has_the_items_that_it_had():
    shops = {name: load_demo_domain(name, num_users=61, num_items=60) for name in ("kitchen", "garden")}
    part = rounds.joined(shops, 2)[1]
    for split in ("train", "validation"):
        joined = getattr(part, split)
        row = len(joined) - 1
        shop, user = joined.user_ids[row].as_py().split(":")
        source = getattr(shops[shop], split)
        before = source[source.user_ids.to_pylist().index(user)]
        assert [part.catalog[item] for item in joined.history(row)] == [shops[shop].catalog[i] for i in before.history]
        if split == "validation":
            assert part.catalog[int(joined.targets[row])] == shops[shop].catalog[before.target]


def test_half_way_is_a_mean_without_item_vectors(tmp_path):
    first, second = small_model(seed=0), small_model(seed=1)
    second.set_item_embeddings(torch.randn(len(small_dataset().catalog), second.config.hidden_size))
    for name, model in (("start", first), ("trained", second)):
        model.save_pretrained(tmp_path / name)
    small_tokenizer().save_pretrained(tmp_path / "start")
    rounds.half_way(tmp_path / "start", tmp_path / "trained", tmp_path / "mean")
    start, trained, mean = (load_file(tmp_path / name / "model.safetensors") for name in ("start", "trained", "mean"))
    for name, weight in mean.items():
        if name != "item_embeddings":
            torch.testing.assert_close(weight, (start[name] + trained[name]) / 2)
    assert len(RecformerForSeqRec.from_pretrained(tmp_path / "mean").item_embeddings) == 0
    assert len(RecformerTokenizer.from_pretrained(tmp_path / "mean")) == len(small_tokenizer())
