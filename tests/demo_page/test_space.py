"""An exported Space: its files, what app.py starts, and that nothing is half-written."""

from __future__ import annotations

import json
import runpy
import shutil

import pytest
import yaml

pytest.importorskip("gradio", reason="needs the extra [demo]")

import recformer_hf.demo_page as demo_page
from recformer_hf._version import __version__
from recformer_hf.demo_page import space
from recformer_hf.demo_page.space import export_space
from tests.support.serving import saved_shop

TITLE = 'A "shop": of kettles'


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("space") / "space"
    export_space(folder, saved_shop() / "shop", TITLE)
    return folder


def front_matter(folder) -> dict:
    return yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])


def test_the_files_are_those_of_a_space(exported):
    assert {path.name for path in exported.iterdir()} == {
        ".gitattributes", "README.md", "app.py", "model", "requirements.txt",
    }  # fmt: skip
    settings = front_matter(exported)
    assert (settings["title"], settings["sdk"], settings["app_file"]) == (TITLE, "gradio", "app.py")
    assert settings["sdk_version"].count(".") == 2
    assert "models" not in settings
    assert f"recformer-hf[demo]>={__version__}" in (exported / "requirements.txt").read_text().splitlines()


def test_its_app_starts_the_page_of_the_copied_model(exported, monkeypatch, tmp_path):
    moved = shutil.copytree(exported, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    started = []
    monkeypatch.setattr(demo_page, "launch_page", started.append)
    runpy.run_path(str(moved / "app.py"))
    (page,) = started
    assert page.title == TITLE


def test_a_model_of_the_hub_is_named_instead_of_copied(monkeypatch, tmp_path):
    loaded = []
    local = space.load_recommender(saved_shop() / "shop")
    monkeypatch.setattr(space, "load_recommender", lambda name, **options: loaded.append((name, options)) or local)
    export_space(tmp_path / "space", "user/shop", "Shop", revision="v1")
    assert loaded == [("user/shop", {"revision": "v1"})]
    assert not (tmp_path / "space" / "model").exists()
    assert front_matter(tmp_path / "space")["models"] == ["user/shop"]
    started = []
    monkeypatch.setattr(demo_page, "load_page", lambda *given, **options: (given, options))
    monkeypatch.setattr(demo_page, "launch_page", started.append)
    runpy.run_path(str(tmp_path / "space" / "app.py"))
    assert started == [(("user/shop", "Shop"), {"revision": "v1"})]


def test_nothing_is_overwritten_or_half_written(exported, tmp_path):
    before = (exported / "app.py").read_text()
    with pytest.raises(FileExistsError):
        export_space(exported, saved_shop() / "shop", "Other")
    assert (exported / "app.py").read_text() == before
    with pytest.raises(ValueError, match="no items"):
        export_space(tmp_path / "space", saved_shop() / "encoder", "Other")
    assert not (tmp_path / "space").exists()


def test_titles_are_quoted_for_both_files(tmp_path):
    texts = space._texts("user/shop", False, 'back\\slash "quote"\nline', {})
    assert json.dumps('back\\slash "quote"\nline') in texts["app.py"]
    assert yaml.safe_load(texts["README.md"].split("---\n")[1])["title"] == 'back\\slash "quote"\nline'
