"""Bundle in use: with its queue, its drift window and its descriptions, all replaced together by a switch."""

import asyncio
from typing import Any

from pneumoscope.bundle import Bundle
from pneumoscope.files import as_json
from pneumoscope.inference.drift import DriftMonitor
from pneumoscope.inference.limits import ImageLimits
from pneumoscope.inference.performance import measured_performance
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.serving.queueing import PredictionQueue
from pneumoscope.serving.settings import Settings


class ServedBundle:
    """Bundle, the queue of its worker pool and its drift window.

    A request takes one of these and keeps it until it is answered: a switch meanwhile does not change its answer.

    Attributes:
        bundle: Bundle that makes the predictions.
        adaptation: Id of the adaptation that made the bundle; empty for the one that the service was started with.
        queue: Queue in front of the worker pool.
        drift: Statistics of the last images beside the bundle's reference.
        requests: Number of requests that use it now.
        manifest: Manifest with the hash and the accepted reasons, as JSON.
        performance: Measured performance, as JSON.
    """

    def __init__(self, bundle: Bundle, settings: Settings, adaptation: str = "") -> None:
        """Starts the worker processes, which load the bundle meanwhile."""
        self.bundle, self.adaptation = bundle, adaptation
        pool = WorkerPool(bundle, settings.workers, limits=ImageLimits(wall_seconds=settings.image_seconds))
        self._pool = pool
        self.queue = PredictionQueue(pool, settings.workers, settings.queue)
        self.drift = DriftMonitor(bundle.manifest.reference)
        self.requests = 0
        identity: dict[str, Any] = {"sha256": bundle.sha256, "accept": list(settings.accept), "adaptation": adaptation}
        self.manifest = as_json(bundle.manifest.to_dict() | identity)
        self.performance = as_json(measured_performance(bundle))

    def wait_until_ready(self) -> None:
        """Waits until every process has loaded the bundle; ends them where one cannot.

        Raises:
            PneumoscopeError: The bundle is not as expected, or there is no memory for the processes.
        """
        try:
            self._pool.wait_until_ready()
        except BaseException:
            self._pool.close(wait=False)
            raise

    async def start(self) -> None:
        """Opens the queue once the processes are ready."""
        try:
            await asyncio.to_thread(self.wait_until_ready)
            await self.queue.start()
        except BaseException:  # such as a stop of the service meanwhile
            self._pool.close(wait=False)
            raise

    async def stop(self) -> None:
        """Ends the processes, once every request that uses the bundle is answered."""
        while self.requests:
            await asyncio.sleep(0.02)
        await self.queue.stop()
