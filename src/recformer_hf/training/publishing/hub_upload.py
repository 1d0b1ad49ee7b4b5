"""The Hub: which files of a run's folder go there, and the one commit that takes them."""

from __future__ import annotations

import warnings
from concurrent.futures import Future
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi
from transformers import Trainer
from transformers.utils import logging

logger = logging.get_logger(__name__)

PUBLISHED = (
    "config.json", "model*.safetensors", "model.safetensors.index.json", "adapter_config.json",
    "adapter_model*.safetensors", "*_recformer.py", "encoder_*.py", "items_*.py", "recommending_*.py", "storage_*.py",
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "item_catalog.arrow",
    "item_index.*", "metrics.json", "run_times.json", "zero_shot.jsonl", "test-*.npz", "*.png", "README.md", "LICENSE*",
)  # fmt: skip
"""Files of a run's folder that go to the Hub. Nothing else does: no pickle, no optimizer, no checkpoint."""


class PushesRuns(Trainer):
    """A `Trainer` that uploads the finished files of its `output_dir` in one commit, and nothing while it trains."""

    def save_result(self) -> None:
        """Writes the finished model to `output_dir`; the trainer's own."""
        raise NotImplementedError

    def refuse_untrained(self, what: str) -> None:
        """The model of a trainer that has trained nothing, and loaded no result, is not the folder's.

        Raises:
            RuntimeError: saying that there is nothing to do so with.
        """
        if not self.state.log_history:
            raise RuntimeError(
                f"There is nothing to {what}: call train() first. On a run that is done, "
                "train(resume_from_checkpoint=True) only loads its result."
            )

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Makes the repository if it is not there; `Trainer` calls it at once where `push_to_hub` is set.

        Args:
            token, private: by default the arguments' `hub_token` and `hub_private_repo`.
        """
        if not self.is_world_process_zero():
            return
        name = self.args.hub_model_id or Path(self.args.output_dir or "").resolve().name
        private = self.args.hub_private_repo if private is None else private
        repo = self._hub(token).create_repo(name, private=private, exist_ok=True)
        self.hub_model_id = repo.repo_id  # type: ignore[assignment]
        self.push_in_progress = None

    def _hub(self, token: str | None) -> HfApi:
        return HfApi(token=self.args.hub_token if token is None else token)

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Uploads what is finished in `output_dir` in one commit; the repository is made if it is not there.

        Model, tokenizer, catalogue, metrics, rankings, curves, card and TensorBoard logs go; pickles,
        optimizers and checkpoints never do (`PUBLISHED`). All processes call it; the main one uploads.

        Args:
            commit_message: of the commit.
            blocking: wait for the upload. Otherwise a future of it is returned, and its errors are the future's.
            token, revision, private: as in `huggingface_hub.HfApi`; by default the arguments' `hub_token`,
                `hub_revision`, `hub_private_repo`.
            kwargs: of `create_model_card`.

        Returns:
            `CommitInfo`: what the Hub says of the commit; or a future of it; `None` on other processes.

        Raises:
            RuntimeError: before `train()`: the model here is not the folder's.
            OSError: if the upload fails. `output_dir` is whole then, and the repository as it was; call it again.
        """
        self.refuse_untrained("push")
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        self.save_result()
        if not self.is_world_process_zero():
            return None
        folder = Path(self.args.output_dir or "")
        try:
            if self.hub_model_id is None:
                self.init_hf_repo(token, private)
            self.create_model_card(**kwargs)
            return upload(
                self._hub(token),
                str(self.hub_model_id),
                folder,
                message=commit_message or "End of training",
                revision=self.args.hub_revision if revision is None else revision,
                blocking=blocking,
            )
        except Exception as error:  # the Hub's, the network's, the disk's: each library has its own
            raise OSError(
                f"The push to {self.hub_model_id or 'the Hub'} failed ({error}). Nothing is lost: {folder} holds the "
                "whole run. Call push_to_hub() again; in a new process after train(resume_from_checkpoint=True), which "
                "only loads the result, and finish()."
            ) from error


def published_files(folder: Path) -> dict[str, Path]:
    """Files of a run's folder that go to the Hub, by their name there; TensorBoard logs come under `runs/`."""
    files = {
        path.name: path
        for path in folder.iterdir()
        if path.is_file() and any(fnmatchcase(path.name, pattern) for pattern in PUBLISHED)
    }
    for logs in [folder / "runs", *folder.glob("stage-*/runs")]:
        stage = "" if logs.parent == folder else f"{logs.parent.name}/"
        for path in logs.rglob("events.out.tfevents.*"):
            files[f"runs/{stage}{path.relative_to(logs).as_posix()}"] = path
    return dict(sorted(files.items()))


def upload(
    api: HfApi, repo_id: str, folder: Path, *, message: str, revision: str | None, blocking: bool
) -> CommitInfo | Future[CommitInfo]:
    """Uploads [`published_files`] in one commit, so that the repository has all of them or stays as it was.

    Args:
        api: with its token.
        repo_id: a repository that is there.
        folder: of the run.
        message: of the commit.
        revision: branch; the main one if `None`.
        blocking: wait for it; else a future is returned.
    """
    files = published_files(folder)
    logger.info(f"{len(files)} files of {folder} go to {api.endpoint}/{repo_id}.")
    operations = [CommitOperationAdd(name, path) for name, path in files.items()]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*commit a data file")  # the catalogue is meant to be there
        if blocking:
            return api.create_commit(repo_id, operations, commit_message=message, revision=revision)
        return api.create_commit(repo_id, operations, commit_message=message, revision=revision, run_as_future=True)
