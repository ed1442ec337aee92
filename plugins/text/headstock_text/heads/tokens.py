"""Answers that are stretches of a text: names and places in it, or what answers a question about it."""

from __future__ import annotations

from typing import ClassVar

from headstock.heads import QuestionAnsweringHead, TokenClassificationHead


class TokenClassification(TokenClassificationHead):
    """A linear probe on the first token of each word."""

    name: ClassVar[str] = "token-classification"
    modality: ClassVar[str] = "text"
    tap: ClassVar[str] = "tokens"


class QuestionAnswering(QuestionAnsweringHead):
    """Two linear probes on the tokens of question and context."""

    name: ClassVar[str] = "question-answering"
    modality: ClassVar[str] = "text"
    tap: ClassVar[str] = "tokens"
