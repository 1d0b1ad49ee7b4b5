from __future__ import annotations

import http.client
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="needs the extra [serve]")

from recformer_hf.serving import ServingLimits, create_app
from recformer_hf.serving.serve import read_token
from tests.support.neural_baselines import with_items
from tests.support.serving import ADMIN, IDS, TOKEN, Server, copy_shop, saved_shop


def test_a_token_is_read(tmp_path):
    path = tmp_path / "token.txt"
    path.write_text(f"  {TOKEN}\n")
    assert read_token(path) == TOKEN


@pytest.mark.parametrize(
    "content", [b"short", b"with a space in it 123", b"\xff" * 20, "ümlaut-ümlaut-ümlaut".encode()]
)
def test_another_token_is_refused(tmp_path, content):
    path = tmp_path / "token.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"token\.txt .*secrets\.token_urlsafe"):
        read_token(path)
    with pytest.raises(ValueError, match="cannot be read"):
        read_token(tmp_path / "missing.txt")


@pytest.mark.parametrize("token", ["", "short", "with a space in it 123"])
def test_an_application_refuses_the_same_tokens(tmp_path, token):
    """An empty one would let every request change items."""
    with pytest.raises(ValueError, match=r"admin_token has .* at least 16"):
        create_app(copy_shop(tmp_path), admin_token=token)


def test_what_cannot_be_changed_needs_no_token(tmp_path):
    with_items("sasrec").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="SASRec, which knows the items of its training alone"):
        create_app(tmp_path, admin_token=TOKEN)


def test_changes_are_kept_beside_the_folder(tmp_path):
    folder = copy_shop(tmp_path)
    service = create_app(f"{folder}/", admin_token=TOKEN).state.service
    assert service.journal.path == tmp_path / "shop.item_changes"
    assert create_app(folder, changes=tmp_path / "x").state.service.journal.path == tmp_path / "x"
    assert os.listdir(tmp_path) == ["shop"]


def test_limits_are_the_applications():
    app = create_app(saved_shop() / "shop", limits=ServingLimits(max_top_k=3))
    assert app.state.service.limits.max_top_k == 3


# A process of its own


Change = tuple[str, str | None]
"""An id, and its new title or None."""


def add_until_killed(server: Server, name: str, seconds: float) -> tuple[list[Change], Change]:
    """Changes items until the server is killed; returns what was acknowledged, and what was asked last."""
    acknowledged: list[Change] = []
    killer = threading.Timer(seconds, server.kill)
    killer.start()
    asked: Change = ("", None)
    for number in range(100_000):
        item_id = f"{name}-{number - number % 3}"
        asked = (item_id, None) if number % 3 == 2 else (item_id, f"title {name} {number}")
        try:
            if asked[1] is None:
                status, _ = server.ask("DELETE", f"/items/{item_id}", None, **ADMIN)
            else:
                status, _ = server.ask("PUT", f"/items/{item_id}", {"attributes": {"title": asked[1]}}, **ADMIN)
        except (OSError, http.client.HTTPException):
            break
        assert status in (200, 201), server.log
        acknowledged.append(asked)
    killer.join()
    return acknowledged, asked


def kill_and_check(tmp_path: Path, kills: int) -> None:
    """Kills a server again and again while items change; every acknowledged change is there afterwards."""
    folder = copy_shop(tmp_path)
    token = tmp_path / "token.txt"
    token.write_text(TOKEN)
    expected: dict[str, set[str | None]] = {}
    draws = random.Random(0)
    total = 0
    for kill in range(kills):
        server = Server(folder, admin_token_file=str(token))
        check_items(server, expected)
        changes, asked = add_until_killed(server, f"k{kill}", draws.uniform(0.05, 0.5))
        total += len(changes)
        for item_id, title in changes:
            expected[item_id] = {title}
        # The change that was asked last may have been written, though nobody was told.
        before = expected.get(asked[0], {None})
        expected[asked[0]] = before | {asked[1]}
    assert total >= kills
    server = Server(folder)  # without a token the changes are in force, too
    check_items(server, expected)
    server.kill()


def check_items(server: Server, expected: dict[str, set[str | None]]) -> None:
    for item_id, titles in expected.items():
        status, item = server.ask("GET", f"/items/{item_id}")
        found = item["attributes"]["title"] if status == 200 else None
        assert found in titles, (item_id, found, titles)


def test_changes_survive_sigkill(tmp_path):
    kill_and_check(tmp_path, 2)


@pytest.mark.slow
def test_changes_survive_fifty_sigkills(tmp_path):
    kill_and_check(tmp_path, 50)


def test_sigterm_finishes_what_runs():
    server = Server(saved_shop() / "shop")
    answers: list[int] = []

    def ask() -> None:
        histories = [[{"title": f"thing {number} {item}"} for item in range(40)] for number in range(60)]
        answers.append(server.ask("POST", "/recommend", {"histories": histories})[0])

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    time.sleep(0.1)
    server.process.terminate()
    for client in clients:
        client.join()
    assert answers == [200] * 4
    server.process.join(30)
    assert server.process.exitcode in (0, -signal.SIGTERM)
    assert "Traceback" not in server.log
    with pytest.raises(OSError, match="refused"):
        server.ask("POST", "/recommend", {"histories": [[IDS[0]]]})
