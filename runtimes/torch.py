"""PyTorch, eager: the reference that the other backends are compared with."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Final

from uva_edge import environment
from uva_edge.bundle import Bundle
from uva_edge.environment import Availability
from uva_edge.errors import DataError, SessionError
from uva_edge.manifest import Artifact

from .backend import Frames, Maps, SessionInfo, SessionOptions, State, closed
from .forks import expect_first_process

if TYPE_CHECKING:
    from torch import nn

_ONE_RUN: Final = threading.Lock()
"""torch's thread count and random state belong to the process: changed and put back by one thread at a time."""


class TorchBackend:
    """Rebuilds the network from the checkpoint in the bundle."""

    name = "torch"
    formats = ("torch",)

    def installed(self) -> Availability:
        return environment.installed(self.name)

    def probe(self) -> Availability:
        return environment.probe_engine(self.name)

    def load(self, bundle: Bundle, artifact: Artifact, options: SessionOptions) -> TorchSession:
        return TorchSession(bundle, artifact, options)


class TorchSession:
    """The network in eager mode; runs of all torch sessions of a process take turns."""

    def __init__(self, bundle: Bundle, artifact: Artifact, options: SessionOptions) -> None:
        import torch

        expect_first_process(TorchBackend.name)
        # The one place where a runtime needs the networks: the reference is the network itself.
        from uva_edge.models.families import load_step

        data = bundle.read(artifact.files[0])
        try:
            # A new network draws its first weights from the process's random state.
            with _ONE_RUN, torch.random.fork_rng(devices=()):
                step = load_step(bundle.manifest.network.family, data)
        except DataError as error:
            raise SessionError(f"torch can't load {artifact.name} of {bundle.name}: {error}") from error
        self._torch = torch
        self._step: nn.Module | None = step
        self._threads = options.threads
        with _ONE_RUN, _thread_count(torch, options.threads):
            threads = torch.get_num_threads()
        self.info = SessionInfo(
            backend=TorchBackend.name,
            engine=f"torch {torch.__version__}",
            artifact=artifact.name,
            device="cpu",
            precision=artifact.precision,
            threads=threads,
        )

    def run(self, frames: Frames, state: State) -> tuple[Maps, State]:
        torch, step = self._torch, self._step
        if step is None:
            raise closed(self.info)
        try:
            with _ONE_RUN, _thread_count(torch, self._threads), torch.inference_mode():
                maps, state_out = step(torch.tensor(frames), torch.tensor(state))
        except RuntimeError as error:
            raise SessionError(f"torch failed on {self.info.artifact}: {error}") from error
        return maps.numpy(), state_out.numpy()

    def close(self) -> None:
        self._step = None


@contextmanager
def _thread_count(torch: ModuleType, threads: int) -> Iterator[None]:
    """torch's thread count within a block."""
    before = torch.get_num_threads()
    if before == threads:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
