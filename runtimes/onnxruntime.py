"""ONNX Runtime on the CPU."""

from __future__ import annotations

from typing import Any, Final

from uva_edge import environment
from uva_edge.bundle import Bundle
from uva_edge.environment import Availability
from uva_edge.errors import SessionError
from uva_edge.manifest import Artifact

from .backend import Frames, Maps, SessionInfo, SessionOptions, State, closed

_PROVIDER: Final = "CPUExecutionProvider"
_SPINNING: Final = "session.intra_op.allow_spinning"


class OnnxRuntimeBackend:
    """Loads ONNX artifacts with the CPU execution provider."""

    name = "onnxruntime"
    formats = ("onnx",)

    def installed(self) -> Availability:
        return environment.installed(self.name)

    def probe(self) -> Availability:
        return environment.probe_engine(self.name)

    def load(self, bundle: Bundle, artifact: Artifact, options: SessionOptions) -> OnnxRuntimeSession:
        return OnnxRuntimeSession(bundle, artifact, options)


class OnnxRuntimeSession:
    """An ONNX model in one inference session, which ONNX Runtime lets any number of threads run."""

    def __init__(self, bundle: Bundle, artifact: Artifact, options: SessionOptions) -> None:
        import onnxruntime

        session_options = onnxruntime.SessionOptions()
        # Both pools are set: an unset one takes every core. Spinning threads would burn the idle time between
        # the frames of a camera.
        session_options.intra_op_num_threads = options.threads
        session_options.inter_op_num_threads = 1
        session_options.add_session_config_entry(_SPINNING, "0")
        session_options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        session_options.log_severity_level = 3
        model = bundle.read(artifact.files[0])
        self._session: Any = None
        try:
            self._session = onnxruntime.InferenceSession(model, session_options, providers=[_PROVIDER])
        except Exception as error:  # ONNX Runtime raises plain exceptions of its own for every refusal
            raise SessionError(f"onnxruntime can't load {artifact.name} of {bundle.name}: {error}") from error
        contract = bundle.manifest.contract
        self._inputs = (contract.frames.name, contract.state_in.name)
        self._outputs = [contract.maps.name, contract.state_out.name]
        effective = self._session.get_session_options()
        self.info = SessionInfo(
            backend=OnnxRuntimeBackend.name,
            engine=f"onnxruntime {onnxruntime.__version__}",
            artifact=artifact.name,
            device=self._session.get_providers()[0].removesuffix("ExecutionProvider"),
            precision=artifact.precision,
            threads=effective.intra_op_num_threads,
            details={"spinning": effective.get_session_config_entry(_SPINNING)},
        )

    def run(self, frames: Frames, state: State) -> tuple[Maps, State]:
        session = self._session
        if session is None:
            raise closed(self.info)
        feed: dict[str, Any] = dict(zip(self._inputs, (frames, state), strict=True))
        try:
            maps, state_out = session.run(self._outputs, feed)
        except Exception as error:  # as above
            raise SessionError(f"onnxruntime failed on {self.info.artifact}: {error}") from error
        return maps, state_out

    def close(self) -> None:
        self._session = None
