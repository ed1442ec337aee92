"""One side of `finetune_speed.py` in a process of its own: prints, as JSON, when it first measured the target accuracy.

The clock starts when the libraries are imported and the texts are at hand; loading the backbone, tokenising and judging
the validation rows are part of it for every side.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

EPOCHS, BATCH = 60, 32
USUAL_RATE = 1e-3
"""Adam's own default, and what people give a linear probe; Trainer's default of 5e-5 is for whole networks."""


def plan(home: str, data: str) -> dict[str, Any]:
    """The split that all sides share, the accuracy to reach, and the rate at which Trainer reaches it soonest.

    The rate is the best of five by the median of seven seeds, on the same features, clipped as Trainer clips.
    """
    import numpy as np
    import torch
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    from headstock.finetune.prepare import prepare
    from headstock.finetune.training import _extractor
    from headstock.finetune.values import pick

    with _catalogue(home) as catalogue:
        host, table, recipe = _recipe(catalogue, data)
        prepared = prepare(catalogue, host, recipe, table, "plan", lambda message: None)
        values = _extractor(catalogue, prepared, 1).features(prepared.dataset.inputs, lambda *done: None).values
    (texts,) = prepared.dataset.inputs.read(range(len(table)))
    labels, names = prepared.targets.values.astype(int), prepared.targets.labels
    sides = {"train": prepared.split.train, "validation": prepared.split.validation}
    (x, y), (held, truth) = ((pick(values, rows), labels[list(rows)]) for rows in sides.values())
    # Chosen on the training rows: the best of many on a small validation side would be luck that nobody repeats.
    probe = GridSearchCV(LogisticRegression(max_iter=5000), {"C": [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]}, cv=5)
    best = float(probe.fit(x, y).score(held, truth))
    target = 0.99 * best

    def epochs_at(rate: float, seed: int) -> float:
        torch.manual_seed(seed)
        head = torch.nn.Linear(x.shape[1], len(names))
        optimizer = torch.optim.AdamW(head.parameters(), lr=rate)
        for epoch in range(EPOCHS):
            for rows in torch.randperm(len(x)).split(BATCH):
                loss = torch.nn.functional.cross_entropy(head(torch.from_numpy(x)[rows]), torch.from_numpy(y)[rows])
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
                optimizer.step()
            with torch.no_grad():
                if (np.argmax(head(torch.from_numpy(held)).numpy(), axis=1) == truth).mean() >= target:
                    return epoch + 1
        return float("inf")

    rates = {
        rate: float(np.median([epochs_at(rate, seed) for seed in range(7)])) for rate in (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
    }
    return {
        "target": target,
        "best_probe": best,
        "trainer_rate": min(rates, key=lambda rate: rates[rate]),
        "trainer_pilot_epochs": rates,
        "classes": len(names),
        "rows": {side: {"texts": [texts[r] for r in rows], "labels": labels[list(rows)].tolist()}
                 for side, rows in sides.items()},
    }  # fmt: skip


def ours(home: str, data: str, target: float, cache: str) -> dict[str, Any]:
    """`headstock fine-tune` with its defaults; where the cache is `warm` another head than that of the cold run."""
    import headstock.finetune.training  # noqa: F401 - imports torch before the clock starts
    from headstock.finetune import fine_tune
    from headstock.finetune.observer import Observer
    from headstock.report import Assessment

    class Watch(Observer):
        reached = float("inf")
        epochs = 0
        accuracy = 0.0

        def epoch(self, figures: Mapping[str, Any]) -> None:
            if self.reached == float("inf"):
                self.epochs, self.accuracy = figures["epoch"], figures["accuracy"]
                if figures["accuracy"] >= target:
                    self.reached = time.perf_counter() - began

    watch = Watch()
    with _catalogue(home) as catalogue:
        began = time.perf_counter()
        host, table, recipe = _recipe(catalogue, data)
        if cache == "warm":
            other = recipe.optimizer.model_copy(update={"weight_decay": 2 * recipe.optimizer.weight_decay})
            recipe = recipe.model_copy(update={"optimizer": other})
        fine_tune(catalogue, host, recipe, table, "speed", observer=watch, assessment=Assessment("none"))
        finished = time.perf_counter() - began
    return {"seconds": watch.reached, "finished": finished, "epochs": watch.epochs, "accuracy": watch.accuracy}


def trainer(planned: Mapping[str, Any], weights: str, rate: float) -> dict[str, Any]:
    """transformers' Trainer: the backbone frozen, mean pooling as the weights were made for, dropout off, grouped."""
    import numpy as np
    import torch
    import transformers
    from transformers import AutoModel, AutoTokenizer, DataCollatorWithPadding, TrainerCallback, TrainingArguments

    class Probe(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = AutoModel.from_pretrained(weights, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
            self.body.requires_grad_(False)
            self.head = torch.nn.Linear(self.body.config.hidden_size, planned["classes"])

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None, labels: Any = None) -> Any:
            with torch.no_grad():
                states = self.body(input_ids, attention_mask, token_type_ids).last_hidden_state
                mask = attention_mask.unsqueeze(-1).float()
                pooled = (states * mask).sum(1) / mask.sum(1)
            logits = self.head(pooled)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    reached = float("inf")
    seen: list[float] = []

    class Stop(TrainerCallback):  # type: ignore[misc]
        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Mapping[str, float], **rest: Any) -> None:
            nonlocal reached
            seen.append(metrics["eval_accuracy"])
            if seen[-1] >= planned["target"]:
                reached = time.perf_counter() - began
                control.should_training_stop = True

    began = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(weights)
    sides = {
        side: [
            {**tokenizer(text, truncation=True, max_length=256), "labels": label}
            for text, label in zip(rows["texts"], rows["labels"], strict=True)
        ]
        for side, rows in planned["rows"].items()
    }
    arguments = TrainingArguments(
        output_dir=os.environ["HEADSTOCK_BENCH_OUT"], num_train_epochs=EPOCHS, learning_rate=rate,
        lr_scheduler_type="constant", per_device_train_batch_size=BATCH, per_device_eval_batch_size=BATCH,
        eval_strategy="epoch", save_strategy="no", logging_strategy="no", report_to=[], use_cpu=True,
        train_sampling_strategy="group_by_length", disable_tqdm=True, seed=0,
    )  # fmt: skip
    transformers.Trainer(
        model=Probe(), args=arguments, train_dataset=sides["train"], eval_dataset=sides["validation"],
        data_collator=DataCollatorWithPadding(tokenizer), callbacks=[Stop()],
        compute_metrics=lambda p: {"accuracy": float((np.argmax(p.predictions, axis=1) == p.label_ids).mean())},
    ).train()  # fmt: skip
    return {
        "seconds": reached, "finished": time.perf_counter() - began, "epochs": len(seen), "accuracy": seen[-1],
        "versions": _versions("torch", "transformers", "accelerate"),
    }  # fmt: skip


def setfit(planned: Mapping[str, Any], weights: str) -> dict[str, Any]:
    """SetFit's head-only mode: texts encoded once, logistic regression on the vectors."""
    import numpy as np
    from sentence_transformers import SentenceTransformer
    from setfit import SetFitModel, SetFitTrainer  # noqa: F401 - imported before the clock starts
    from sklearn.linear_model import LogisticRegression

    began = time.perf_counter()
    body = SentenceTransformer(weights, device="cpu")
    model = SetFitModel(model_body=body, model_head=LogisticRegression(max_iter=1000), normalize_embeddings=False)
    train, held = planned["rows"]["train"], planned["rows"]["validation"]
    model.fit(train["texts"], train["labels"], num_epochs=1, batch_size=BATCH)
    answers = np.asarray(model.predict(held["texts"], batch_size=BATCH))
    accuracy = float((answers == np.asarray(held["labels"])).mean())
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds if accuracy >= planned["target"] else float("inf"), "finished": seconds, "epochs": 1,
        "accuracy": accuracy, "versions": _versions("setfit", "sentence-transformers", "scikit-learn"),
    }  # fmt: skip


def _catalogue(home: str) -> Any:
    from headstock.catalogue import Catalogue
    from headstock.settings import Settings

    return Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": home}))


def _recipe(catalogue: Any, data: str) -> Any:
    from headstock.finetune import Options, plan_recipe, read_table
    from headstock.names import Reference
    from headstock.plugin_host import open_host

    host, table = open_host(catalogue.settings), read_table(Path(data))
    return (
        host,
        table,
        plan_recipe(catalogue, host, table, Reference("minilm"), "text-classification", Options(validation=0.3)),
    )


def _versions(*names: str) -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in names}


def main() -> None:
    """`plan HOME DATA`, `ours HOME DATA TARGET`, `trainer[-tuned] PLAN WEIGHTS` or `setfit PLAN WEIGHTS`."""
    import torch

    torch.set_num_threads(1)
    side, *rest = sys.argv[1:]
    if side == "plan":
        result = plan(*rest)
    elif side == "ours":
        result = ours(rest[0], rest[1], float(rest[2]), rest[3])
    else:
        planned = json.loads(Path(rest[0]).read_text())
        rates = {"trainer": USUAL_RATE, "trainer-tuned": planned["trainer_rate"]}
        result = setfit(planned, rest[1]) if side == "setfit" else trainer(planned, rest[1], rates[side])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
