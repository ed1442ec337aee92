"""One inference: resolve the model, make rows, wait for the scheduler, postprocess."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic_ns
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from headstock import postprocess
from headstock.errors import HeadstockError, Unavailable
from headstock.preprocess import Row
from headstock_server.dataplane import answers, metadata, parameters, rows
from headstock_server.dataplane.limits import LimitExceeded, Limits
from headstock_server.dataplane.loads import Loads
from headstock_server.dataplane.messages import InferRequest, InferResponse
from headstock_server.dataplane.metadata import ModelDescription
from headstock_server.dataplane.response_cache import ResponseCache, answered, key_by
from headstock_server.dataplane.statistics import BackboneReport, ModelReport, Statistics, unused
from headstock_server.dataplane.tenants import Tenants
from headstock_server.dataplane.trace import Tracer
from headstock_server.dataplane.waiters import Waiters
from headstock_server.scheduler import Scheduler, Ticket

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock_server.repository import IndexRow, LoadedModel, Repository

log = logging.getLogger("headstock.server")


class DataPlane:
    """Answers requests. All methods run on the event loop; what would block it goes to a small thread pool."""

    def __init__(
        self,
        catalogue: Catalogue,
        repository: Repository,
        scheduler: Scheduler,
        waiters: Waiters,
        limits: Limits | None = None,
        tracer: Tracer | None = None,
        cache: ResponseCache | None = None,
        tenants: Tenants | None = None,
    ) -> None:
        """Serve the models of `repository` through `scheduler`, which delivers to `waiters`.

        `cache` keeps answers; `tenants` knows which names of tenants count, and without it none does.
        """
        self.tracer = tracer or Tracer(None)
        self.limits = limits or Limits()
        self._draining = False
        self._catalogue = catalogue
        self._repository = repository
        self._scheduler = scheduler
        self._waiters = waiters
        self._statistics = Statistics(scheduler.forget)
        # Weak, so that a version which nothing names any more can go.
        self._inputs: WeakKeyDictionary[LoadedModel, rows.Inputs] = WeakKeyDictionary()
        self.cache = cache
        self._tenants = tenants or Tenants()
        self._loads = Loads(repository)
        self._accepted = self._making = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="headstock-plane")

    async def infer(self, request: InferRequest) -> InferResponse:
        """The answer to one request, by the version that its name and selector mean at this moment.

        Raises a `HeadstockError`; cancelling the caller frees the queued rows.
        """
        if self.draining:
            raise Unavailable("the server is stopping and takes no new requests")
        self._accepted += 1
        self._idle.clear()
        try:
            return await self._infer(request)
        finally:
            self._accepted -= 1
            if self._accepted == 0:
                self._idle.set()

    async def drain(self) -> None:
        """Take no new requests and wait until the accepted ones are answered."""
        self._draining = True
        await self._idle.wait()

    def close(self) -> None:
        """Stop the threads."""
        self._loads.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def draining(self) -> bool:
        """True if no new requests are taken, because the server stops or its scheduler did."""
        return self._draining or self._scheduler.stopped

    @property
    def busy(self) -> bool:
        """True while an accepted request is neither answered nor given up."""
        return self._accepted > 0

    def ready(self, name: str, version: str = "", tenant: str = "") -> bool:
        """True if the model is loaded and requests of this tenant are taken."""
        model = self._repository.resolve(name, version)
        return not self.draining and model is not None and not _refused(model, tenant)

    def known(self, name: str) -> bool | None:
        """True if the model answers, False if it is loaded but the server drains, None if it is not loaded."""
        model = self._repository.resolve(name, "")
        return None if model is None else not self.draining and not _refused(model)

    async def describe(self, name: str, version: str, tenant: str = "") -> ModelDescription:
        """What the model says about itself to a tenant; loads it if need be."""
        model = await self._model(name, version, tenant=tenant)
        loop = asyncio.get_running_loop()
        ruling = self._repository.licences.ruling(model.version, tenant)
        return await loop.run_in_executor(self._pool, metadata.describe, self._catalogue, model, ruling)

    async def index(self, tenant: str = "") -> Sequence[IndexRow]:
        """What the catalogue holds and what of it is loaded."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._repository.index, tenant)

    async def model_reports(self, name: str, version: str) -> list[ModelReport]:
        """Statistics of one version, of all versions of a name, or of all models; also of those never asked for."""
        for loaded in self._repository.loaded():
            self._statistics.of(loaded)
        reports = self._statistics.models(self._scheduler.statistics())
        if not name:
            return reports
        self.limits.check_model(name, version)
        # Looked up and not loaded: who asks for figures must not make a backbone leave.
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._pool, self._repository.find, name, version)
        mine = [r for r in reports if r.name == name and (not version or r.number == found.number)]
        return mine or [unused(name, found.number)]

    def backbone_reports(self) -> list[BackboneReport]:
        """Statistics of every backbone that is loaded or has run."""
        return self._statistics.backbones(self._scheduler.statistics(), self._repository.loaded())

    async def _infer(self, request: InferRequest) -> InferResponse:
        started = monotonic_ns()
        if len(request.id) > self.limits.id_length:
            raise LimitExceeded(
                f"the request id has {len(request.id)} characters; expected at most {self.limits.id_length}"
            )
        deadline, priority = request.deadline, 0
        if request.parameters:
            deadline = parameters.deadline_of(request.parameters, deadline)
            priority = parameters.priority_of(request.parameters)
        model = await self._model(request.model, request.version, deadline, request.tenant)
        caution = None if model.caution is None else model.caution.of(request.tenant)
        if caution is not None:
            caution.check()
        usage = model.usage
        usage.used_ns = started
        usage.in_flight += 1
        try:
            response = await self._answer(model, request, deadline, priority, started)
        finally:
            usage.in_flight -= 1
        if caution is not None:
            response.licence_warning = caution.warning
        if request.parameters and parameters.wants_licence(request.parameters):
            ruling = self._repository.licences.ruling(model.version, request.tenant)
            response.parameters.update(metadata.licence_parameters(ruling))
        return response

    async def _answer(
        self, model: LoadedModel, request: InferRequest, deadline: float | None, priority: int, started: int
    ) -> InferResponse:
        """The response of one version, from the cache or from a pass."""
        counters = self._statistics.of(model)
        cache, key = self.cache, None
        try:
            answers.check_outputs(model.outputs, request.outputs)
            if cache is not None:
                key = await key_by(self._pool, model, request)
                kept = None if key is None else cache.get(key)
                if kept is not None:
                    counters.hit(monotonic_ns() - started)
                    return answered(kept, request, model)
            made = await self._rows(model, request)
            tenant = self._tenants.of(request.tenant)
            ticket = Ticket(model, made, deadline, tenant=tenant, priority=priority)
            raw = await self._waiters.run(self._scheduler, ticket)
            contexts = None if model.reads == "any" else [row.extra for row in ticket.rows]
            wanted = [output.name for output in request.outputs]
            tensors = postprocess.apply(model.head.postprocess, raw, contexts, wanted)
        except (HeadstockError, asyncio.CancelledError) as error:
            counters.failed(monotonic_ns() - started)
            log.debug("%s:%d failed a request: %s", model.name, model.number, type(error).__name__)
            raise
        response = InferResponse(
            model.name,
            str(model.number),
            request.id,
            answers.answers_of(model.outputs, request.outputs, tensors),
        )
        truncated = sum([row.truncated for row in ticket.rows])
        if truncated:
            response.parameters["truncated_rows"] = truncated
        if cache is not None and key is not None:
            cache.put(key, response)
        ended = monotonic_ns()
        counters.succeeded(ticket, started, ended, missed=key is not None)
        if self.tracer.active:
            self.tracer.record(response, ticket, started, ended)
        if log.isEnabledFor(logging.DEBUG):
            _log_answer(response, ticket, ended - started)
        return response

    async def _rows(self, model: LoadedModel, request: InferRequest) -> list[Row]:
        """The request's rows; raises `Exhausted` before making any if the queue has no room for them."""
        count = rows.row_count(request, self.limits)
        self._scheduler.check_room(count, self._making)
        inputs = self._inputs.get(model)
        if inputs is None:
            inputs = self._inputs[model] = rows.Inputs(model.backbone.preprocessor, model.reads)
        if inputs.quick(request):
            return inputs.rows(request, self.limits)
        # Rows that are being made will want room too: else they would pile up before the threads instead.
        self._making += count
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, inputs.rows, request, self.limits)
        finally:
            self._making -= count

    async def _model(self, name: str, version: str, deadline: float | None = None, tenant: str = "") -> LoadedModel:
        loaded = self._repository.resolve(name, version)
        if loaded is None:
            self.limits.check_model(name, version)
            loaded = await self._loads.get(name, version, deadline, self._repository.licences.uses.known(tenant))
        return loaded


def _refused(model: LoadedModel, tenant: str = "") -> bool:
    return model.caution is not None and model.caution.of(tenant).refusal is not None


def _log_answer(response: InferResponse, ticket: Ticket, ns: int) -> None:
    timings = ticket.timings
    log.debug(
        "%s:%s answered %d rows in %.2f ms, of which %.2f ms queued; its pass had %d rows",
        response.model,
        response.version,
        len(ticket.rows),
        ns / 1e6,
        timings.queue_ns / 1e6,
        timings.batch_rows,
    )
