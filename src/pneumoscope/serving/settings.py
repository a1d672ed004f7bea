"""Settings of the service."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from pneumoscope.errors import ConfigError
from pneumoscope.hosts import is_loopback
from pneumoscope.types import PredictionRequest


@dataclass(frozen=True)
class Settings:
    """Settings of the service.

    Attributes:
        bundle: Bundle: `default`, `nano`, `best`, or a path.
        host: Address to listen on.
        port: Port to listen on; 0 for any that is free.
        workers: Number of worker processes.
        queue: Number of images that may wait beyond those at work; more are answered with 503.
        image_bytes: Size of the largest image file, bytes.
        images: Largest number of images in a request.
        held_bytes: Largest sum of all images that are arriving, waiting or at work, bytes.
        upload_seconds: Time in which a request must have arrived whole, seconds.
        image_seconds: Wall-clock time of one image in a worker process, seconds.
        keys: File of API keys; no key is required where None.
        origins: Other origins whose web pages may send requests, such as https://pacs.example.
        hosts: Host names of the service beside its address; any where it listens beyond this machine and none is named.
        history: SQLite file of decisions; none is kept where None.
        history_required: Whether a decision that cannot be kept in the history is refused (503) instead of answered.
        node: Settings file or folder of a DICOM node: its queue is shown where it is on this machine, and the DICOMweb server that
            the file names can be searched; none where None.
        kept_images: Folder in which images are kept with the history; none is kept where None.
        kept_bytes: Largest sum of the kept images, bytes; further ones are not kept.
        accept: Reasons out of `types.OUTSIDE` for which images are not referred.
        request_log: Whether requests are logged, by ids, hashes and decisions.
        adaptations: Folder of adaptations that callers may begin; none may where None.
        adaptation_images: Largest number of images of an adaptation.
        adaptation_bytes: Largest sum of the images of an adaptation, bytes on disk.
        adaptation_seconds: Time without a request after which an adaptation that was not started is deleted, seconds.
    """

    bundle: str = "default"
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    queue: int = 64
    image_bytes: int = 64 * 2**20
    images: int = 32
    held_bytes: int = 512 * 2**20
    upload_seconds: float = 30.0
    image_seconds: float = 20.0
    keys: Path | None = None
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    history: Path | None = None
    history_required: bool = False
    node: Path | None = None
    kept_images: Path | None = None
    kept_bytes: int = 32 * 2**30
    accept: tuple[str, ...] = ()
    request_log: bool = True
    adaptations: Path | None = None
    adaptation_images: int = 5000
    adaptation_bytes: int = 8 * 2**30
    adaptation_seconds: float = 900.0

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("queue", 1), ("image_bytes", 1), ("images", 1)):
            if (found := getattr(self, name)) < least:
                raise ConfigError(f"expected {name} of at least {least}, found {found}: change it")
        PredictionRequest(accept=self.accept)
        if self.history_required and self.history is None:
            raise ConfigError(
                "expected a history file, as the history is required, found none: name one with --history"
            )
        if self.kept_images and self.history is None:
            raise ConfigError(
                "expected a history file, as images are kept with it, found none: name one with --history"
            )
        if self.image_bytes > self.held_bytes:
            raise ConfigError(
                f"expected room for at least one image of {self.image_bytes} bytes, found {self.held_bytes}: take smaller ones"
            )
        if self.images > self.queue:
            raise ConfigError(
                f"expected a queue of at least the {self.images} images of one request, found {self.queue}: lengthen it"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)

    @property
    def known_hosts(self) -> frozenset[str]:
        """Host names of the service; empty for any.

        A page elsewhere whose name resolves to this machine could otherwise read what is served to this machine alone.
        """
        own = {"localhost", "127.0.0.1", "[::1]", self.host}
        return frozenset(own | set(self.hosts)) if self.hosts or self.is_local else frozenset()
