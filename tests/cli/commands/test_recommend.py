"""recformer recommend: JSON lines in, JSON lines out."""

from __future__ import annotations

import io
import json

import pytest

from tests.support.shops import CATALOG


class TestRecommend:
    def lines(self, *histories) -> str:
        return "".join((history if isinstance(history, str) else json.dumps(history)) + "\n" for history in histories)

    def test_from_file_to_file(self, script, folders, model, tokenizer, tmp_path):
        first, second = CATALOG.ids[0], CATALOG.ids[1]
        (tmp_path / "in.jsonl").write_text(self.lines([first, CATALOG[1]], {"user": "u2", "history": [second]}, ""))
        (tmp_path / "out-of-stock.txt").write_text(f"{CATALOG.ids[5]}\n")
        files = {"histories": "in.jsonl", "output": "out.jsonl", "exclude": "out-of-stock.txt"}
        named = [word for name, file in files.items() for word in (f"--{name}", str(tmp_path / file))]
        script.main(["--model", str(folders / "shop"), *named, "--top_k", "4", "--device", "cpu"])
        answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        shop = model.with_catalog(CATALOG, tokenizer)
        expected = shop.recommend([[first, second], [second]], tokenizer, 4, exclude=[CATALOG.ids[5]])
        assert [[item["item_id"] for item in answer["recommendations"]] for answer in answers] == expected.item_ids
        assert answers[0]["history"] == [first, CATALOG[1]]
        assert answers[1]["user"] == "u2"

    def test_standard_input_and_output(self, script, folders, monkeypatch, capsys):
        monkeypatch.setattr("sys.stdin", io.StringIO(self.lines([CATALOG.ids[3]])))
        script.main(["--model", str(folders / "shop"), "--top_k", "1", "--no_attributes", "--device", "cpu"])
        (item,) = json.loads(capsys.readouterr().out)["recommendations"]
        assert set(item) == {"item_id", "score"}

    def test_bad_lines(self, script, folders, monkeypatch, capsys):
        good = [CATALOG.ids[3]]
        text = self.lines(good, ["nope"], "{", {"items": good}, good)
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        with pytest.raises(SystemExit, match=r"recformer recommend: line 2: .*No item 'nope'"):
            script.main(["--model", str(folders / "shop"), "--device", "cpu"])
        capsys.readouterr()
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        script.main(["--model", str(folders / "shop"), "--on_error", "report", "--device", "cpu"])
        answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert ["recommendations" in answer for answer in answers] == [True, False, False, False, True]
        assert [answer["line"] for answer in answers[1:4]] == [2, 3, 4]
        assert "expected a list of items" in answers[3]["error"]
        assert "not JSON: " in answers[2]["error"]

    def test_damaged_text_loses_no_other_line(self, script, folders, tmp_path):
        good = json.dumps([CATALOG.ids[3]]).encode()
        half, bytes_, deep = b'[{"title": "kettle \\ud800"}]', b'[{"title": "kettle \xff"}]', b"[" * 100_000
        (tmp_path / "in.jsonl").write_bytes(b"\n".join([good, half, bytes_, deep, good]))
        files = ["--histories", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out.jsonl")]
        script.main(["--model", str(folders / "shop"), *files, "--on_error", "report", "--device", "cpu"])
        answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
        assert ["recommendations" in answer for answer in answers] == [True, True, True, False, True]
        assert answers[1]["history"] == [{"title": "kettle \ud800"}]
        assert answers[3]["line"] == 4

    def test_a_model_without_items_and_a_device_that_is_none(self, script, folders):
        with pytest.raises(SystemExit, match=r"encoder has no items to recommend\. .*--save_model shop$"):
            script.main(["--model", str(folders / "encoder"), "--device", "cpu"])
        with pytest.raises(SystemExit, match="--device gpu7 is no device of torch"):
            script.main(["--model", str(folders / "shop"), "--device", "gpu7"])

    def test_a_folder_that_does_not_exist(self, script, tmp_path):
        missing = str(tmp_path / "nowhere")
        with pytest.raises(SystemExit, match=r"recformer recommend: --model .*nowhere is neither a local folder nor a"):
            script.main(["--model", missing, "--device", "cpu"])
