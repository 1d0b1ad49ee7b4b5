"""Fixtures that the tests share."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before huggingface_hub is imported: no test touches the network
if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: each of `pytest -n` has a core, not all of them
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
import transformers
from huggingface_hub import constants, hf_api
from safetensors.torch import load_file

from recformer_hf.configuration_recformer import RecformerConfig
from recformer_hf.modeling_recformer import RecformerForPretraining, RecformerForSeqRec, RecformerModel
from tests.support.disk import wait_for_no_disk
from tests.support.hub_server import serve_hub
from tests.support.models import GOLDEN, enliven, small_config

wait_for_no_disk()


@pytest.fixture
def config() -> RecformerConfig:
    return small_config()


@pytest.fixture(scope="session")
def golden() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "outputs.safetensors")


@pytest.fixture
def golden_pretraining_model() -> RecformerForPretraining:
    config = RecformerConfig.from_pretrained(GOLDEN, tie_word_embeddings=False)
    model = RecformerForPretraining(config)
    weights = load_file(GOLDEN / "weights_pretraining.safetensors")
    weights.pop("lm_head.bias")  # the replication stores it twice
    model.load_state_dict({name.replace("longformer.", "recformer."): value for name, value in weights.items()})
    return model.eval()


@pytest.fixture
def golden_seqrec_model(golden_pretraining_model, golden) -> RecformerForSeqRec:
    config = RecformerConfig.from_pretrained(GOLDEN)
    model = RecformerForSeqRec(config)
    model.recformer.load_state_dict(golden_pretraining_model.recformer.state_dict())
    model.set_item_embeddings(golden["item_embeddings"])
    return model.eval()


@pytest.fixture
def model(config) -> RecformerModel:
    return enliven(RecformerModel(config)).eval()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The client talks to a stand-in on this machine."""
    with serve_hub() as hub:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        # Both remember their first server; older versions of transformers push by the second.
        monkeypatch.setattr(transformers.utils.hub, "_hf_api", None, raising=False)
        monkeypatch.setattr(hf_api.api, "endpoint", hub.url)
        yield hub
