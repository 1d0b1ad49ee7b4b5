"""Uploads the finished files of a run to the Hub, in one commit."""

from __future__ import annotations

import warnings
from concurrent.futures import Future
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi
from transformers import Trainer
from transformers.utils import logging

from ...modeling_recformer import RecformerPreTrainedModel
from ...storage.remote_code import code_files
from ...tokenization_recformer import RecformerTokenizer

logger = logging.get_logger(__name__)

PUBLISHED = (
    "config.json", "model*.safetensors", "model.safetensors.index.json", "adapter_config.json",
    "adapter_model*.safetensors", "*_recformer.py", "tokenizer*", "special_tokens_map.json", "added_tokens.json",
    "vocab.*", "merges.txt", "item_catalog.arrow", "memory.safetensors", "item_index.*", "metrics.json",
    "run_times.json", "zero_shot.jsonl", "test-*.npz", "*.png", "README.md", "LICENSE*",
)  # fmt: skip
"""Files of a run's folder that are uploaded, besides the code files of a model saved `with_code`.

This lists what may be uploaded rather than what may not: a folder can hold pickles, optimizers, checkpoints and
secrets.
"""


@cache
def code_file_names() -> frozenset[str]:
    """Names of the files that `save_pretrained(with_code=True)` of a model and its tokenizer writes."""
    return frozenset(code_files((*RecformerPreTrainedModel._code_modules, *RecformerTokenizer._code_modules)))


class PushesRuns(Trainer):
    """A `Trainer` that uploads the finished files of its `output_dir` in one commit, and nothing while it trains."""

    def save_result(self) -> None:
        """Writes the finished model to `output_dir`. Every trainer implements this."""
        raise NotImplementedError

    def refuse_untrained(self, what: str) -> None:
        """Refuses to act for a trainer that has neither trained nor loaded a result.

        The weights of such a trainer are not those of `output_dir`, which may hold a finished run.

        Args:
            what: what the caller was asked to do, such as `"push"`.

        Raises:
            RuntimeError: if nothing was trained or loaded.
        """
        if not self.state.log_history:
            raise RuntimeError(
                f"There is nothing to {what}: call train() first. For a finished run, "
                "train(resume_from_checkpoint=True) only loads the result."
            )

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Creates the repository if it does not exist. `Trainer` calls this when it is made, if `push_to_hub` is set.

        Args:
            token: by default `args.hub_token`.
            private: by default `args.hub_private_repo`.
        """
        if not self.is_world_process_zero():
            return
        name = self.args.hub_model_id or Path(self.args.output_dir or "").resolve().name
        private = self.args.hub_private_repo if private is None else private
        repo = self._hub(token).create_repo(name, private=private, exist_ok=True)
        self.hub_model_id = repo.repo_id  # type: ignore[assignment]
        self.push_in_progress = None  # Trainer reads it when training ends

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
        """Uploads the finished files of `output_dir` in one commit, and creates the repository if it does not exist.

        These are model, tokenizer, catalogue, metrics, rankings, curves, card and TensorBoard logs, never pickles,
        optimizers or checkpoints (`PUBLISHED`). Call it on all processes; the main process uploads.

        Args:
            commit_message: message of the commit.
            blocking: wait for the upload. If `False`, a future is returned, which also holds the errors of the upload.
            token: as in `huggingface_hub.HfApi`; by default `args.hub_token`.
            revision: branch to commit to; by default `args.hub_revision`.
            private: whether a new repository is private; by default `args.hub_private_repo`.
            kwargs: arguments of `create_model_card`.

        Returns:
            the Hub's `CommitInfo`, or a future of it; `None` on all processes but the main one.

        Raises:
            RuntimeError: before `train()`, when the trainer's model is not that of `output_dir`.
            OSError: if the upload fails. `output_dir` is then complete and the repository unchanged, so that you can
                call it again.
        """
        self.refuse_untrained("push")
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        self.save_result()  # on all processes: sharded weights have to be gathered
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
        except Exception as error:  # the Hub, the network and the disk raise errors of different libraries
            raise OSError(
                f"The push to {self.hub_model_id or 'the Hub'} failed ({error}). Nothing is lost: {folder} holds the "
                "whole run. Call push_to_hub() again. In a new process, first call train(resume_from_checkpoint=True), "
                "which only loads the result, and finish()."
            ) from error


def published_files(folder: Path) -> dict[str, Path]:
    """The files of a run's folder that are uploaded, by their name on the Hub.

    The TensorBoard logs of all stages go under `runs/`, where the Hub looks for them.
    """
    files = {path.name: path for path in folder.iterdir() if path.is_file() and _is_published(path.name)}
    for logs in [folder / "runs", *folder.glob("stage-*/runs")]:
        stage = "" if logs.parent == folder else f"{logs.parent.name}/"
        for path in logs.rglob("events.out.tfevents.*"):
            files[f"runs/{stage}{path.relative_to(logs).as_posix()}"] = path
    return dict(sorted(files.items()))


def _is_published(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in PUBLISHED) or name in code_file_names()


def upload(
    api: HfApi, repo_id: str, folder: Path, *, message: str, revision: str | None, blocking: bool
) -> CommitInfo | Future[CommitInfo]:
    """Uploads [`published_files`] in one commit, so that the repository gets all of them or stays as it was.

    Args:
        api: client with its token.
        repo_id: an existing repository.
        folder: folder of the run.
        message: message of the commit.
        revision: branch; the main branch if `None`.
        blocking: wait for the upload; if `False`, return a future.
    """
    files = published_files(folder)
    logger.info(f"Uploading {len(files)} files of {folder} to {api.endpoint}/{repo_id}.")
    operations = [CommitOperationAdd(name, path) for name, path in files.items()]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*commit a data file")  # the catalogue belongs to the model
        if blocking:
            return api.create_commit(repo_id, operations, commit_message=message, revision=revision)
        return api.create_commit(repo_id, operations, commit_message=message, revision=revision, run_as_future=True)
