"""Lanes of rows, a pure policy, and the threads that run passes."""

from headstock_server.scheduler.contract import Backbone, Floats, HeadGroup, LaneKey, Model
from headstock_server.scheduler.options import SchedulerOptions
from headstock_server.scheduler.policy import Budget, Reason
from headstock_server.scheduler.scheduler import Scheduler
from headstock_server.scheduler.statistics import (
    BackboneStatistics,
    BatchStatistics,
    ModelStatistics,
    PassRecord,
    SchedulerStatistics,
)
from headstock_server.scheduler.ticket import Outputs, Ticket, Timings

__all__ = [
    "Backbone",
    "BackboneStatistics",
    "BatchStatistics",
    "Budget",
    "Floats",
    "HeadGroup",
    "LaneKey",
    "Model",
    "ModelStatistics",
    "Outputs",
    "PassRecord",
    "Reason",
    "Scheduler",
    "SchedulerOptions",
    "SchedulerStatistics",
    "Ticket",
    "Timings",
]
