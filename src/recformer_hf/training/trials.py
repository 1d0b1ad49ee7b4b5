"""Hyperparameter search: a trial is a run of its own, in a folder of its own, from a new model of `model_init`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import Trainer, set_seed

from .arguments import RecformerTrainingArguments


class SearchesSettings(Trainer):
    """A `Trainer` whose `model_init` gives a new model to every run, and whose trials are runs."""

    args: RecformerTrainingArguments

    def adopt(self, model: object) -> None:
        """Checks a model before it becomes that of the trainer, and gives it what it needs."""
        raise NotImplementedError

    def call_model_init(self, trial: Any = None) -> Any:
        model = super().call_model_init(trial)
        self.adopt(model)
        return model

    def hyperparameter_search(self, *args: Any, **kwargs: Any) -> Any:
        """Searches settings with optuna; arguments and result are those of `transformers.Trainer`.

        Every trial is a whole run, in the folder `run-N` of `output_dir`. Its objective is computed from the validation
        metrics of its best model (`direction="maximize"` for NDCG). Only [`searchable_fields`] of the arguments can
        differ; for the model's settings, `model_init` may take the trial. Trials are not pruned.

        Raises:
            ValueError: for another backend than optuna, several jobs or processes, or a pruner.
            RuntimeError: without `model_init`.
        """
        backend = kwargs.get("backend", args[4] if len(args) > 4 else None)
        if str(getattr(backend, "value", backend or "optuna")) != "optuna":
            raise ValueError(f"hyperparameter_search works with backend='optuna', got {backend!r}.")
        if self.model_init is None:
            raise RuntimeError(
                "hyperparameter_search needs a new model for every trial: pass model=None and "
                "model_init=lambda: ...from_pretrained(...) to the trainer."
            )
        if self.args.world_size > 1 or kwargs.get("n_jobs", 1) != 1:
            raise ValueError("hyperparameter_search runs one trial after the other in one process (n_jobs=1).")
        if kwargs.get("pruner") is not None:
            raise ValueError("Trials are not pruned: set patience and num_train_epochs instead of a pruner.")
        if backend is None and len(args) <= 4:
            kwargs["backend"] = "optuna"
        return super().hyperparameter_search(*args, **kwargs)

    def arguments_of(self, trial: Any, args: RecformerTrainingArguments) -> RecformerTrainingArguments:
        """The arguments of a trial: those of the search with the values that its space gives, and a folder."""
        folder = f"run-{trial.number}" if self.hp_name is None else self.hp_name(trial)
        found = args.with_settings(self.hp_space(trial))
        found.output_dir = str(Path(args.output_dir or "", folder))
        found.push_to_hub = False
        return found

    @contextmanager
    def new_model(self, args: RecformerTrainingArguments, trial: Any) -> Iterator[None]:
        """Begins a run with a new model of `model_init`, if there is one.

        `Trainer.train` would make one too, but for every stage, and after weights were frozen.
        """
        model_init = self.model_init
        if model_init is not None:
            set_seed(args.seed)
            model: Any = self.call_model_init(trial)
            self.model = self.model_wrapped = model.to(args.device)
            self.optimizer = self.lr_scheduler = None
            self.model_init = None  # type: ignore[assignment]
        try:
            yield
        finally:
            self.model_init = model_init
