"""The processes of benchmarks/peers.py: one for each runner, asked by lines of JSON, and one for each conversion."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from peers_install import installed
from peers_runners import Runner

from uva_edge import Bundle

HERE: Final = Path(__file__).resolve().parent
ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TVM_NUM_THREADS"), "1")
PATIENCE: Final = 600
"""Seconds after which a process that does not answer is ended."""


class NotMeasuredError(Exception):
    """Why a runner has no times."""


class Peer:
    """A process with a runner in it; what it prints goes to the file `log`."""

    def __init__(
        self, runner: Runner, bundle: str, model: Path, frames: Path, python: Path, log: Path
    ) -> None:
        self._log = log
        command = [python, HERE / "peers_worker.py", runner.name, bundle, model, frames]
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **ONE_THREAD, "TORCHINDUCTOR_CACHE_DIR": str(model.parent / "inductor")},
            )

    def answer(self) -> dict[str, Any]:
        """The next one; raises NotMeasuredError with the process's last words if it ended."""
        assert self._process.stdout is not None
        timer = threading.Timer(PATIENCE, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if not line:
            raise NotMeasuredError(last_words(self._process.wait(), self._log))
        return dict(json.loads(line))

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Raises NotMeasuredError as `answer`."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, and the answer will say why
            print(json.dumps({"do": do, **request}), file=self._process.stdin, flush=True)
        return self.answer()

    def close(self) -> None:
        self._process.kill()
        with suppress(BrokenPipeError):
            self._process.communicate()


def last_words(code: int, log: Path) -> str:
    """Why a process ended, by the last line that it wrote."""
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"its process ended with exit code {code}"


def converted(runner: Runner, bundle: str, models: Path) -> Path:
    """The folder of a converted model, made unless it is there.

    Raises:
        NotInstalledError: its converter is missing.
        NotMeasuredError: the converter failed; the message has its last words.
    """
    if not runner.converter:
        return models / "none"
    version = installed([runner.converter], Path(sys.executable), runner.fix)[runner.converter].version
    manifest = Bundle.open(bundle).manifest
    weights = next(item for item in manifest.artifacts if item.format == "torch").files[0].sha256
    key = hashlib.sha256((weights + (HERE / "peers_models.py").read_text("utf-8")).encode()).hexdigest()[:12]
    folder = models / f"{bundle}-{runner.converter}-{version}-{key}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=models) as scratch:
            made, log = Path(scratch) / "model", Path(scratch) / "log.txt"
            made.mkdir()
            command = [sys.executable, str(HERE / "peers_models.py"), runner.converter, bundle, str(made)]
            with log.open("w") as output:
                environ = {**os.environ, **ONE_THREAD}
                code = subprocess.run(command, stdout=output, stderr=output, env=environ).returncode
            if code:
                raise NotMeasuredError(f"its converter failed: {last_words(code, log)}")
            made.rename(folder)
    return folder
