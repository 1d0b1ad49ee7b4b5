"""The catalogue and the index beside a model."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import huggingface_hub.errors
import pytest
import torch
from transformers import AutoModelForSequenceClassification, pipeline

from recformer_hf import ItemCatalog, RecformerForSeqRec, RecformerTokenizer
from recformer_hf.recommending.item_store import CheckpointSource, ItemStore, read_catalog, read_memory
from tests.support.heads import trained
from tests.support.memories import assert_same, some_memory
from tests.support.models import small_config
from tests.support.shop import MORE, plain_search, vectors


class TestTheCatalogueBesideTheModel:
    def test_saved_apart_from_the_model(self, model, tmp_path):
        """As trainers do: the catalogue is written beside, the model knows nothing of it."""
        catalog, model.catalog = model.catalog, None
        catalog.save_pretrained(tmp_path)
        model.save_pretrained(tmp_path)
        assert RecformerForSeqRec.from_pretrained(tmp_path).catalog == catalog

    def test_stays_when_the_folder_goes(self, model, tmp_path):
        model.save_pretrained(tmp_path)
        loaded = RecformerForSeqRec.from_pretrained(tmp_path)
        for file in tmp_path.iterdir():
            file.unlink()
        assert loaded.catalog == model.catalog

    def test_loaded_item_vectors_take_no_gradient_until_asked(self, model, tmp_path):
        model.save_pretrained(tmp_path)
        assert not RecformerForSeqRec.from_pretrained(tmp_path).item_embeddings.requires_grad

    def test_saving_where_it_was_loaded_from(self, model, tokenizer, tmp_path):
        model.save_pretrained(tmp_path)
        loaded = RecformerForSeqRec.from_pretrained(tmp_path)
        loaded.add_items(MORE, tokenizer)
        loaded.save_pretrained(tmp_path)
        assert RecformerForSeqRec.from_pretrained(tmp_path).catalog == loaded.catalog

    @pytest.mark.parametrize("wrong", [[{"item_id": "a", "title": "mug"}] * 32, {"a": {"title": "mug"}}, "shop"])
    def test_other_kinds(self, model, wrong):
        for use in (
            lambda: setattr(model, "catalog", wrong),
            lambda: model.set_item_embeddings(vectors(32, 64), wrong),
        ):
            with pytest.raises(TypeError, match=r"catalogue is an ItemCatalog, got a (list|dict|str)\. Create one"):
                use()
        assert isinstance(model.catalog, ItemCatalog)

    @pytest.mark.parametrize("kind", ["link", "folder"])
    def test_that_is_no_file(self, model, tmp_path, kind):
        """As a cached checkpoint has whose links were copied without what they point to."""
        model.save_pretrained(tmp_path)
        path = tmp_path / "item_catalog.arrow"
        path.unlink()
        path.mkdir() if kind == "folder" else path.symlink_to("../blobs/0123")
        with pytest.raises(OSError, match=r"item_catalog\.arrow is no file, or a link to one that is missing"):
            RecformerForSeqRec.from_pretrained(tmp_path)

    @pytest.mark.parametrize("num_items", [32, 20, 0])
    def test_of_an_older_model_is_removed(self, model, tmp_path, caplog, num_items):
        """It would name the items of the new one."""
        model.save_pretrained(tmp_path)
        model.set_item_embeddings(vectors(num_items, 64))
        model.save_pretrained(tmp_path)
        assert not (tmp_path / "item_catalog.arrow").exists()
        assert "names the items of the model that was saved here before" in caplog.text
        assert RecformerForSeqRec.from_pretrained(tmp_path).catalog is None

    def test_of_another_size_is_left_aside(self, model, tmp_path, caplog):
        model.save_pretrained(tmp_path)
        ItemCatalog.from_items(MORE).save_pretrained(tmp_path)
        loaded = RecformerForSeqRec.from_pretrained(tmp_path)
        assert loaded.catalog is None
        with pytest.raises(ValueError, match="The catalogue has 2 items, but the model has 32"):
            loaded.catalog = ItemCatalog.from_items(MORE)

    def test_new_embeddings_have_no_catalogue_unless_given(self, model):
        catalog = model.catalog
        model.set_item_embeddings(model.item_embeddings * 2, catalog)
        assert model.catalog is catalog
        model.set_item_embeddings(model.item_embeddings * 2)
        assert model.catalog is None
        with pytest.raises(ValueError, match="3 item embeddings, but 32 items"):
            model.set_item_embeddings(torch.zeros(3, 64), catalog)
        assert model.config.num_items == 32

    def test_only_the_main_process_writes(self, model, tmp_path):
        model.save_pretrained(tmp_path, is_main_process=False)
        assert not (tmp_path / "item_catalog.arrow").exists()

    def test_from_the_hub_of_the_same_commit(self, model, tmp_path, monkeypatch):
        """Fetched with the weights, once, of the commit that they are of."""
        model.save_pretrained(tmp_path)
        asked = []

        def download(repo, name, **options):
            asked.append((repo, name, options["revision"], options["token"]))
            return str(tmp_path / name)

        monkeypatch.setattr("recformer_hf.items.catalog_files.hf_hub_download", download)
        store = ItemStore()
        store.load(CheckpointSource.of("someone/shop", {"token": "t", "revision": "main"}, "abc"), 32)
        assert asked == [("someone/shop", "item_catalog.arrow", "abc", "t")]
        assert store.catalog(32) == store.catalog(32) == model.catalog
        assert len(asked) == 1

    def test_that_the_hub_cannot_be_asked_for_is_an_error(self, model, tmp_path):
        """A recommender without its catalogue would be saved without it later."""
        snapshot = tmp_path / "hub" / "models--someone--shop" / "snapshots" / ("a" * 40)
        model.save_pretrained(snapshot)
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
        catalog = snapshot / "item_catalog.arrow"
        content = catalog.read_bytes()
        catalog.unlink()
        with pytest.raises(OSError, match=r"item_catalog\.arrow beside them could not be fetched"):
            RecformerForSeqRec.from_pretrained("someone/shop", cache_dir=tmp_path / "hub")
        # The cache remembers that a repository has no catalogue.
        absent = snapshot.parents[1] / ".no_exist" / ("a" * 40) / "item_catalog.arrow"
        absent.parent.mkdir(parents=True)
        absent.touch()
        assert RecformerForSeqRec.from_pretrained("someone/shop", cache_dir=tmp_path / "hub").catalog is None
        absent.unlink()
        catalog.write_bytes(content)
        loaded = RecformerForSeqRec.from_pretrained("someone/shop", cache_dir=tmp_path / "hub")
        assert loaded.catalog == model.catalog

    @pytest.mark.parametrize(
        ("name", "status"),
        [
            ("HfHubHTTPError", 503), ("HfHubHTTPError", 429), ("RepositoryNotFoundError", 401), ("GatedRepoError", 403),
            ("RevisionNotFoundError", 404), ("LocalEntryNotFoundError", 0), ("OfflineModeIsEnabled", 0),
            ("EntryNotFoundError", 404), ("RemoteEntryNotFoundError", 404),
        ],
    )  # fmt: skip
    def test_only_the_hubs_answer_that_there_is_none_means_none(self, tmp_path, monkeypatch, name, status):
        kind = getattr(huggingface_hub.errors, name, None)
        if kind is None:
            pytest.skip("another version of huggingface_hub")
        error = kind.__new__(kind)  # in some versions its constructor wants a response
        error.args = (f"status {status}",)

        def download(*args, **options):
            raise error

        monkeypatch.setattr("recformer_hf.items.catalog_files.hf_hub_download", download)
        source = CheckpointSource.of("someone/shop", {"cache_dir": tmp_path}, "a" * 40)
        if name in ("EntryNotFoundError", "RemoteEntryNotFoundError"):
            assert read_catalog(source, 32) is None
            return
        store = ItemStore()
        for _ in range(2):
            with pytest.raises(OSError, match=r"item_catalog\.arrow beside them could not be fetched"):
                store.load(source, 32)

    @pytest.mark.parametrize("subfolder", ["", "best"])
    @pytest.mark.parametrize("way", ["class", "revision", "local_files_only", "auto", "pipeline", "sharded"])
    def test_every_way_of_loading_says_so(self, model, tokenizer, tmp_path, way, subfolder):
        """The weights are cached, the catalogue is not, and the Hub cannot be reached."""
        cache, commit = tmp_path / "hub", "a" * 40
        snapshot = cache / "models--someone--shop" / "snapshots" / commit
        folder = snapshot / subfolder
        model.save_pretrained(folder, max_shard_size="100kB" if way == "sharded" else "1GB")
        tokenizer.save_pretrained(folder)
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs" / "main").write_text(commit)
        options = {"cache_dir": cache, **({"subfolder": subfolder} if subfolder else {})}
        options |= {"revision": {"revision": commit}, "local_files_only": {"local_files_only": True}}.get(way, {})

        def load():
            if way == "auto":
                return AutoModelForSequenceClassification.from_pretrained("someone/shop", **options)
            if way == "pipeline":
                whole = RecformerTokenizer.from_pretrained(folder)
                loaded = pipeline("sequential-recommendation", "someone/shop", tokenizer=whole, model_kwargs=options)
                return loaded.model
            return RecformerForSeqRec.from_pretrained("someone/shop", **options)

        if way == "pipeline" and subfolder:
            pytest.skip("transformers' pipeline looks for the configuration outside of the folder")
        content = (folder / "item_catalog.arrow").read_bytes()
        (folder / "item_catalog.arrow").unlink()
        with pytest.raises((OSError, ValueError), match=r"item_catalog\.arrow"):
            load()
        (folder / "item_catalog.arrow").write_bytes(content)  # the network is back
        loaded = load()
        assert loaded.catalog == model.catalog
        loaded.save_pretrained(tmp_path / "copy")
        assert (tmp_path / "copy" / "item_catalog.arrow").read_bytes() == content

    def test_pushing_while_saving_passes_on_what_is_false(self, model, tmp_path, monkeypatch):
        pushed = []
        monkeypatch.setattr(RecformerForSeqRec, "push_to_hub", lambda self, repo_id, **options: pushed.append(options))
        model.save_pretrained(tmp_path / "shop", push_to_hub=True, private=False, token=False, max_shard_size="1MB")
        model.save_pretrained(tmp_path / "other", push_to_hub=True, is_main_process=False)
        assert pushed == [{"private": False, "token": False, "max_shard_size": "1MB"}]

    def test_a_shallow_copy_has_a_catalogue_of_its_own(self, model):
        other = copy.copy(model)
        other.catalog = None
        assert model.catalog is not None

    def test_a_shallow_copy_has_vectors_of_its_own(self, model, tokenizer):
        other = copy.copy(model)
        other.add_items(MORE, tokenizer)
        for each, count in ((model, 32), (other, 34)):
            assert (len(each.catalog), len(each.item_embeddings), each.config.num_items) == (count,) * 3

    def test_pushing_while_saving_takes_it_along(self, model, tmp_path, monkeypatch):
        pushed = {}

        def push(self, repo_id, **options):
            pushed[repo_id] = options

        monkeypatch.setattr(RecformerForSeqRec, "push_to_hub", push)
        model.save_pretrained(tmp_path / "shop", push_to_hub=True, private=True)
        assert pushed == {"shop": {"private": True}}


class TestChoiceOfIndex:
    @pytest.fixture
    def model(self) -> RecformerForSeqRec:
        model = RecformerForSeqRec(small_config())
        model.set_item_embeddings(vectors(1500, 64))
        return model

    def test_exact_needs_nothing(self, model):
        assert model.index.kind == "exact"
        assert model.index is model.index
        assert model.build_index("exact") == {"recall@10": 1.0}

    def test_bfloat16(self, model):
        assert model.build_index("bfloat16")["recall@10"] > 0.99
        assert model.index.kind == "bfloat16"

    @pytest.mark.parametrize("change", ["set", "in place", "through data", "moved"])
    def test_changed_embeddings_end_an_index(self, model, change):
        model.build_index("bfloat16")
        queries, other = vectors(3, 64, seed=2), vectors(1500, 64, seed=3)
        if change == "set":
            model.set_item_embeddings(other)
        elif change == "in place":
            with torch.no_grad():
                model.item_embeddings.copy_(other)
        elif change == "through data":
            model.item_embeddings.data.copy_(other)
        else:
            model.item_embeddings = torch.nn.Parameter(other, requires_grad=False)
        assert model.index.kind == "exact"
        assert torch.equal(model.index.search(queries, 5)[1], plain_search(queries, other, 5).indices)

    def test_without_faiss_a_saved_index_is_left_aside(self, model, tmp_path, monkeypatch):
        pytest.importorskip("faiss")
        model.build_index("flat")
        model.save_pretrained(tmp_path)

        def absent():
            raise ImportError("no faiss here")

        monkeypatch.setattr("recformer_hf.recommending.faiss_index.faiss_module", absent)
        loaded = RecformerForSeqRec.from_pretrained(tmp_path)
        assert loaded.index.kind == "exact"
        with pytest.raises(ImportError, match="no faiss here"):
            loaded.build_index("flat")

    def test_is_found_from_another_folder(self, model, tmp_path, monkeypatch):
        pytest.importorskip("faiss")
        model.build_index("flat")
        model.save_pretrained(tmp_path / "shop")
        monkeypatch.chdir(tmp_path)
        loaded = RecformerForSeqRec.from_pretrained("shop")
        monkeypatch.chdir("/")
        assert loaded.index.kind == "flat"

    def test_several_threads_may_open_it(self, model, tmp_path):
        pytest.importorskip("faiss")
        model.build_index("flat")
        model.save_pretrained(tmp_path)
        for _ in range(5):
            loaded = RecformerForSeqRec.from_pretrained(tmp_path)
            with ThreadPoolExecutor(8) as threads:
                kinds = list(threads.map(lambda _: loaded.index.kind, range(16)))  # noqa: B023
            assert kinds == ["flat"] * 16

    def test_saving_over_an_older_models_index_removes_it(self, model, tmp_path):
        pytest.importorskip("faiss")
        model.build_index("flat")
        model.save_pretrained(tmp_path)
        model.set_item_embeddings(vectors(20, 64))
        model.save_pretrained(tmp_path)
        assert not list(tmp_path.glob("item_index*"))

    def test_a_copy_searches_exactly(self, model):
        pytest.importorskip("faiss")
        model.build_index("flat")
        assert copy.deepcopy(model).index.kind == "exact"
        assert model.index.kind == "flat"

    def test_queries(self, model):
        queries = torch.randn(3, 64)
        assert model.build_index("exact", queries.numpy()) == model.build_index("exact", queries)
        for wrong in (torch.randn(3, 5), torch.randn(0, 64), torch.randn(64)):
            with pytest.raises(
                ValueError, match=r"queries must be \[num_queries, 64\] with at least one query, got \["
            ):
                model.build_index("bfloat16", wrong)
        with pytest.raises(TypeError, match="queries must be a tensor or a numpy array, got a list"):
            model.build_index("bfloat16", [["rkA"]])

    def test_settings_of_exact_search(self, model):
        with pytest.raises(ValueError, match="exact search has no settings"):
            model.build_index("exact", lists=3)
        with pytest.raises(ValueError, match="no items to score"):
            RecformerForSeqRec(small_config()).build_index("exact")


class TestTheMemoryBesideTheModel:
    def test_is_saved_and_loaded(self, model, tmp_path):
        assert model.memory is None
        model.memory = memory = some_memory(32)
        model.save_pretrained(tmp_path)
        loaded = RecformerForSeqRec.from_pretrained(tmp_path)
        assert_same(loaded.memory, memory)
        assert loaded.config.has_memory
        for file in tmp_path.iterdir():
            file.unlink()
        loaded.save_pretrained(tmp_path)
        assert_same(RecformerForSeqRec.from_pretrained(tmp_path).memory, memory)
        assert RecformerForSeqRec.from_pretrained(tmp_path, has_memory=False).memory is None

    def test_a_model_without_one_writes_none(self, model, tmp_path):
        model.save_pretrained(tmp_path)
        assert not (tmp_path / "memory.safetensors").exists()
        assert RecformerForSeqRec.from_pretrained(tmp_path).memory is None

    def test_of_an_older_model_is_removed(self, model, tmp_path, caplog):
        model.memory = some_memory(32)
        model.save_pretrained(tmp_path)
        model.memory = None
        model.save_pretrained(tmp_path)
        assert not (tmp_path / "memory.safetensors").exists()
        assert "the model that was saved here before had a memory" in caplog.text
        assert RecformerForSeqRec.from_pretrained(tmp_path).memory is None

    def test_a_memory_alone_is_no_older_model(self, model, tmp_path):
        some_memory(32).save_pretrained(tmp_path)
        model.save_pretrained(tmp_path)
        assert (tmp_path / "memory.safetensors").exists()

    def test_that_is_missing(self, model, tmp_path):
        model.memory = some_memory(32)
        model.save_pretrained(tmp_path)
        (tmp_path / "memory.safetensors").unlink()
        with pytest.raises(OSError, match=r"not memory\.safetensors, .* load it without its memory: .*has_memory"):
            RecformerForSeqRec.from_pretrained(tmp_path)
        assert RecformerForSeqRec.from_pretrained(tmp_path, has_memory=False).memory is None

    def test_that_is_damaged(self, model, tmp_path):
        model.memory = some_memory(32)
        model.save_pretrained(tmp_path)
        path = tmp_path / "memory.safetensors"
        path.write_bytes(path.read_bytes()[:-7])
        with pytest.raises(ValueError, match=r"memory\.safetensors is not a whole safetensors file"):
            RecformerForSeqRec.from_pretrained(tmp_path)
        path.write_bytes((tmp_path / "model.safetensors").read_bytes())
        with pytest.raises(ValueError, match=r"memory\.safetensors has the version None of a memory's file"):
            RecformerForSeqRec.from_pretrained(tmp_path)

    def test_of_another_size_is_left_aside(self, model, tmp_path, caplog):
        model.memory = some_memory(32)
        model.save_pretrained(tmp_path)
        some_memory(30).save_pretrained(tmp_path)
        assert RecformerForSeqRec.from_pretrained(tmp_path).memory is None
        assert "is of 30 items, but the model has 32" in caplog.text

    def test_other_kinds(self, model):
        with pytest.raises(ValueError, match=r"The memory is of 30 items, but the model has 32\. Fit it on sequences"):
            model.memory = some_memory(30)
        with pytest.raises(TypeError, match="A model's memory is a Memory, got a str"):
            model.memory = "folder"
        assert model.memory is None
        assert not model.config.has_memory

    def test_from_the_hub(self, model, tmp_path, monkeypatch):
        """Asked for only if the configuration says that there is one."""
        model.memory = some_memory(32)
        model.save_pretrained(tmp_path)
        asked = []

        def download(repo, name, **options):
            asked.append((name, options["revision"], options["token"]))
            return str(tmp_path / name)

        monkeypatch.setattr("recformer_hf.items.catalog_files.hf_hub_download", download)
        source = CheckpointSource.of("someone/shop", {"token": "t", "revision": "main"}, "abc")
        store = ItemStore()
        store.load(source, 32)
        assert store.memory is None
        store.load(source, 32, has_memory=True)
        assert_same(store.memory, model.memory)
        assert asked[1:] == [("item_catalog.arrow", "abc", "t"), ("memory.safetensors", "abc", "t")][::-1]

    def test_that_the_hub_cannot_be_asked_for_is_an_error(self, model, tmp_path, monkeypatch):
        def download(*args, **options):
            raise huggingface_hub.errors.LocalEntryNotFoundError("no network")

        monkeypatch.setattr("recformer_hf.items.catalog_files.hf_hub_download", download)
        with pytest.raises(OSError, match=r"not memory\.safetensors.*no network.*has_memory=False"):
            read_memory(CheckpointSource.of("someone/shop", {}, "abc"), 32)

    @pytest.mark.parametrize("made", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
    def test_copies_have_their_own(self, model, made):
        model.memory = memory = some_memory(32)
        other = made(model)
        assert_same(other.memory, memory)
        other.memory = None
        assert model.memory is memory
        assert model.config.has_memory

    def test_other_items_have_none(self, model, tokenizer):
        model.memory = memory = some_memory(32)
        assert model.with_catalog(MORE, tokenizer).memory is None
        model.set_item_embeddings(vectors(32, 64), model.catalog)  # the same items, encoded again
        assert model.memory is memory
        model.set_item_embeddings(vectors(32, 64))
        assert model.memory is None

    def test_a_model_made_from_the_configuration_of_one_with_a_memory(self, model, tmp_path):
        model.memory = some_memory(32)
        fresh = RecformerForSeqRec(model.config)
        fresh.save_pretrained(tmp_path)
        assert RecformerForSeqRec.from_pretrained(tmp_path).memory is None


@pytest.mark.parametrize("kind", ["bfloat16", "flat"])
def test_an_index_stays_until_the_numbers_change(model, tokenizer, kind):
    """A head computes the vectors anew whenever they may have changed."""
    if kind == "flat":
        pytest.importorskip("faiss")
    model = trained(model.catalog, tokenizer, "items")
    model.build_index(kind)
    expected, before = model.recommend([["rkA"]], tokenizer, 5), model.item_vectors
    model.item_store.forget_check()
    assert model.item_vectors is not before
    assert model.index.kind == kind
    assert model.index.exact is model.exact_index
    assert torch.equal(model.recommend([["rkA"]], tokenizer, 5).scores, expected.scores)
    with torch.no_grad():
        model.item_residuals[0] += 1
    assert model.index is model.exact_index
