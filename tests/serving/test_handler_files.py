from __future__ import annotations

import pytest

from recformer_hf import __version__
from recformer_hf.serving import handler
from recformer_hf.serving.handler_files import write_handler
from tests.support.serving import copy_shop


def test_two_files_are_written_beside_a_checkpoint(tmp_path):
    folder = copy_shop(tmp_path)
    (folder / "requirements.txt").write_text("faiss-cpu\nrecformer_hf==0.0.1\n")
    for _ in range(2):  # it may be written again
        assert write_handler(folder) == [folder / "handler.py", folder / "requirements.txt"]
        with open(handler.__file__) as source:
            assert (folder / "handler.py").read_text() == source.read()
        assert (folder / "requirements.txt").read_text() == f"faiss-cpu\nrecformer-hf>={__version__}\n"


def test_another_handler_stays(tmp_path):
    folder = copy_shop(tmp_path)
    (folder / "handler.py").write_text("# mine\n")
    with pytest.raises(FileExistsError, match="not written by this package"):
        write_handler(folder)
    assert (folder / "handler.py").read_text() == "# mine\n"
    assert not (folder / "requirements.txt").exists()


def test_a_folder_without_a_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        write_handler(tmp_path)
