"""Figures with 95 % confidence intervals: what head types report and verdicts compare; numpy only."""

from headstock.metrics.classification import accuracy, log_loss, macro_f1, multi_label
from headstock.metrics.intervals import RESAMPLES, bootstrap, bootstrap_mean, ratio, wilson
from headstock.metrics.ranking import auprc, auroc
from headstock.metrics.regression import regression
from headstock.metrics.retrieval import retrieval
from headstock.metrics.text import answers, edit_distance, spans, transcription

__all__ = [
    "RESAMPLES",
    "accuracy",
    "answers",
    "auprc",
    "auroc",
    "bootstrap",
    "bootstrap_mean",
    "edit_distance",
    "log_loss",
    "macro_f1",
    "multi_label",
    "ratio",
    "regression",
    "retrieval",
    "spans",
    "transcription",
    "wilson",
]
