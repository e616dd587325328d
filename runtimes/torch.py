"""PyTorch, eager: the reference that the other backends are compared with."""

from __future__ import annotations

import threading
from typing import Final

from uva_edge import environment
from uva_edge.bundle import Bundle
from uva_edge.environment import Availability
from uva_edge.errors import DataError, SessionError
from uva_edge.manifest import Artifact

from .backend import Frames, Maps, SessionInfo, SessionOptions, State

# torch's thread count belongs to the process: set for a run and put back after it, one run at a time.
_THREADS_LOCK: Final = threading.Lock()


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
    def __init__(self, bundle: Bundle, artifact: Artifact, options: SessionOptions) -> None:
        import torch

        # The one place where a runtime needs the networks: the reference is the network itself.
        from uva_edge.models.checkpoint import load_checkpoint
        from uva_edge.models.clip_step import ClipStep, folded

        try:
            network, _ = load_checkpoint(bundle.read(artifact.files[0]))
        except DataError as error:
            raise SessionError(f"torch can't load {artifact.name} of {bundle.name}: {error}") from error
        self._torch = torch
        self._step = ClipStep(folded(network)).eval()
        self._threads = options.threads
        with _THREADS_LOCK, _Threads(torch, options.threads):
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
        torch = self._torch
        try:
            with _THREADS_LOCK, _Threads(torch, self._threads), torch.inference_mode():
                maps, state_out = self._step(torch.tensor(frames), torch.tensor(state))
        except RuntimeError as error:
            raise SessionError(f"torch failed on {self.info.artifact}: {error}") from error
        return maps.numpy(), state_out.numpy()

    def close(self) -> None:
        del self._step


class _Threads:
    """torch's thread count within a block."""

    def __init__(self, torch, threads: int) -> None:
        self._torch, self._threads = torch, threads

    def __enter__(self) -> None:
        self._before = self._torch.get_num_threads()
        if self._before != self._threads:
            self._torch.set_num_threads(self._threads)

    def __exit__(self, *_: object) -> None:
        if self._before != self._threads:
            self._torch.set_num_threads(self._before)
