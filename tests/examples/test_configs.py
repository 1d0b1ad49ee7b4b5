"""The `accelerate` configurations of `examples/configs`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from recformer_hf.modeling_recformer import RecformerForSeqRec

CONFIGS = Path(__file__).parents[2] / "examples/configs"
pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")


def test_each_says_what_it_is_named_for():
    found = {path.stem: yaml.safe_load(path.read_text()) for path in CONFIGS.glob("*.yaml")}
    assert found.keys() == {"one_process", "two_cpu_processes", "multi_gpu", "fsdp2"}
    assert found["one_process"]["num_processes"] == 1
    assert found["two_cpu_processes"]["use_cpu"]
    assert found["two_cpu_processes"]["num_processes"] == 2
    assert found["multi_gpu"]["distributed_type"] == "MULTI_GPU"
    assert found["fsdp2"]["fsdp_config"]["fsdp_version"] == 2
    assert all(config["mixed_precision"] == "no" for config in found.values())  # --bf16 of the script decides


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one_process", "two_cpu_processes"])
def test_launches_a_script(tmp_path, name):
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from tests.support.training import small_trainer\n"
        "trainer = small_trainer(sys.argv[1], max_steps=1)\n"
        "trainer.train()\n"
        "assert trainer.args.world_size == int(sys.argv[2])\n"
        "trainer.accelerator.end_training()\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / f"{name}.yaml")]
    processes = "2" if name.startswith("two") else "1"
    subprocess.run(
        [*launch, "--main_process_port", str(port), str(script), str(tmp_path / "run"), processes],
        check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    RecformerForSeqRec.from_pretrained(tmp_path / "run")
