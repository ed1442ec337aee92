"""The hooks of the text plugin: which families, head types and objectives it has."""

from __future__ import annotations

from collections.abc import Sequence

from headstock.hookspecs import BackboneFamily, HeadType, LicenceRecord, Objective, hookimpl
from headstock_text.bert import BertFamily
from headstock_text.distilbert import DistilBertFamily
from headstock_text.gpt import GptFamily
from headstock_text.heads import HEADS
from headstock_text.licences import RECORDS
from headstock_text.objectives import OBJECTIVES
from headstock_text.roberta import RobertaFamily


@hookimpl
def backbone_families() -> Sequence[BackboneFamily]:
    """Families of this plugin."""
    return [BertFamily(), RobertaFamily(), DistilBertFamily(), GptFamily()]


@hookimpl
def head_types() -> Sequence[HeadType]:
    """Head types of this plugin."""
    return HEADS


@hookimpl
def licence_records() -> Sequence[LicenceRecord]:
    """Evidence about weights, besides what the manifest says of its presets."""
    return RECORDS


@hookimpl
def objectives() -> Sequence[Objective]:
    """Objectives of this plugin."""
    return OBJECTIVES
