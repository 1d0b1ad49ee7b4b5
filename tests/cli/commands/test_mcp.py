"""recformer mcp: a process that answers over stdin and stdout."""

from __future__ import annotations

import pytest

pytest.importorskip("mcp", reason="needs the extra [mcp]")

from recformer_hf.serving import mcp_server


class Server:
    def __init__(self, service, runs) -> None:
        self.service, self.runs = service, runs

    def run(self, transport) -> None:
        self.runs.append((self.service, transport))


def test_the_service_of_the_model_is_run_over_stdio(script, folders, monkeypatch, capsys):
    runs: list = []
    monkeypatch.setattr(mcp_server, "build_server", lambda service: Server(service, runs))
    script.main(["--model", str(folders / "shop"), "--max_top_k", "7"])
    ((service, transport),) = runs
    assert transport == "stdio"
    assert service.limits.max_top_k == 7
    assert len(service.recommender.catalog) == 60
    assert capsys.readouterr().out == ""  # the protocol's alone


def test_errors_are_one_line(script, folders):
    with pytest.raises(SystemExit, match=r"recformer mcp: .*no items"):
        script.main(["--model", str(folders / "encoder")])
