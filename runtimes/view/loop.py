"""The one prediction that all viewers see: a source is played, predicted and drawn, in threads of its own."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, Protocol, TypeAlias

from uva_edge.errors import OptionError, UvaEdgeError
from uva_edge.saliency import Saliency

from ..sources import Frame, Source
from .choices import Choice, Choices, Engine
from .meters import Meters
from .pictures import jpeg, overlay, small_map
from .playback import OpenSource, Playback, Played
from .protocol import picture_message, status_message

State: TypeAlias = Literal["stopped", "starting", "running", "stopping", "ended", "failed"]

_MOST_WAIT_S: Final = 15.0  # for a source to let go; OpenCV gives up a network stream after 10

_log: Final = logging.getLogger(__name__)


class Audience(Protocol):
    """Where the loop's results go; called from its threads."""

    @property
    def watched(self) -> bool:
        """Whether anybody looks: if not, nothing is drawn."""

    def show(self, serial: int, picture: bytes) -> None:
        """The newest picture, a message of the protocol; the one before is out of date."""

    def tell(self, status: str) -> None:
        """The newest status, a message of the protocol."""


@dataclass(frozen=True)
class Look:
    """How results are shown.

    Attributes:
        max_width: pixels of the picture's width, 64 to 1920.
        peaks: how many are marked, 0 to 20.
        alpha: opacity of the heat where saliency is 1.

    Raises:
        OptionError: a value out of its range.
    """

    max_width: int = 960
    peaks: int = 3
    alpha: float = 0.5

    def __post_init__(self) -> None:
        for name, low, high in (("max_width", 64, 1920), ("peaks", 0, 20), ("alpha", 0, 1)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise OptionError(f"{name} must be from {low} to {high}, got {value!r}")


class PredictionLoop:
    """Plays the source while it is started, and hands each result to the audience.

    All methods may be called from any thread. Errors of the source end a run and are told in its own words; the
    next start opens the source anew.

    Args:
        open_source: opens the source; called in the loop's thread.
        choices: what may be switched to.
        choice: what runs first; loaded at once.
        audience: who sees it.
        once: files are played once, and not again from the start.

    Raises:
        UvaEdgeError: `choice` can't run.
    """

    def __init__(
        self,
        open_source: OpenSource,
        choices: Choices,
        choice: Choice,
        audience: Audience,
        *,
        look: Look | None = None,
        once: bool = False,
    ) -> None:
        self._open, self._choices, self._audience = open_source, choices, audience
        self._look, self._once = look or Look(), once
        self._meters = Meters()
        self._engine = choices.open(choice)
        self._offers = choices.offers(self._engine)
        self._serial = 0
        self._state: State = "stopped"
        self._remark = self._switching = ""
        self._source: dict[str, Any] | None = None
        self._playback: Playback | None = None
        self._thread: threading.Thread | None = None
        self._undrawn: tuple[Played, Saliency, int] | None = None
        self._lock = threading.Lock()  # of the state above
        self._engine_in_use = threading.Lock()
        self._one_switch = threading.Lock()
        self._tell()

    def start(self) -> None:
        """Open the source and run; nothing if it runs.

        Raises OptionError while the last run is still being stopped.
        """
        with self._lock:
            if self._state == "stopping":
                raise OptionError("the source has not let go yet; start again in a moment")
            if self._state in ("starting", "running"):
                return
            self._state, self._remark = "starting", ""
            playback = self._playback = Playback(
                self._open, once=self._once, read=partial(self._meters.add, "read")
            )
            self._thread = threading.Thread(
                target=self._run, args=(playback,), name="uva-edge-view", daemon=True
            )
            self._thread.start()
        self._tell()

    def stop(self) -> None:
        """End the run and let go of the source; nothing if none is under way. Does not wait."""
        with self._lock:
            if self._state not in ("starting", "running"):
                return
            self._state = "stopping"
            if self._playback is not None:
                self._playback.stop()
        self._tell()

    def switch(self, choice: Choice) -> None:
        """Load another bundle, backend or precision and go on with it, between two frames; this may take seconds.

        Raises:
            OptionError: another switch is under way, or there is no such choice.
            UvaEdgeError: it can't run here. What ran before still runs.
        """
        if not self._one_switch.acquire(blocking=False):
            raise OptionError(f"a switch to {self._switching} is under way; try again when it is done")
        try:
            self._switching = str(choice)
            self._tell()
            engine = self._choices.open(choice)
            offers = self._choices.offers(engine)
            with self._engine_in_use:
                old, self._engine, self._offers = self._engine, engine, offers
                self._meters.clear()
            old.predictor.close()
        finally:
            self._switching = ""
            self._one_switch.release()
            self._tell()
        if self._state == "ended" and self._source and self._source["kind"] == "image":
            self.start()  # the one picture, as the new engine sees it

    def close(self, timeout: float = 2.0) -> bool:
        """Stop, and free the engine.

        Returns:
            Whether the source let go in `timeout` seconds. If not, its thread is in a driver or a network's call
            still, and an ordinary end of the process would pull the libraries away from under it.
        """
        self.stop()
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        with self._engine_in_use:
            self._engine.predictor.close()
        return thread is None or not thread.is_alive()

    # --- a run ------------------------------------------------------------------------------------------

    def _run(self, playback: Playback) -> None:
        state: State = "failed"
        try:
            self._play(playback)
            state, remark = "ended", playback.remark
        except UvaEdgeError as error:
            remark = str(error)
            if not playback.stopped:
                _log.warning("%s; Start on the page tries again", remark)
        except Exception as error:
            _log.exception("the view's prediction failed")
            remark = f"{type(error).__name__}: {error}; this is a defect of uva_edge, please report it"
        if playback.stopped:
            state, remark = "stopped", ""
        playback.stop()  # whatever failed, its thread ends
        playback.join(_MOST_WAIT_S)
        with self._lock:
            self._state, self._remark = state, remark
        self._tell()

    def _play(self, playback: Playback) -> None:
        source = playback.open()
        self._meters.clear()
        with self._lock:
            self._source = _facts_of(source, playback)
            if self._state == "starting":
                self._state = "running"
        self._tell()
        lap = -1
        try:
            for played in playback.frames():
                self._predict(played, cut=played.lap != lap, dropped=playback.dropped)
                lap = played.lap
                if playback.remark != self._remark:
                    self._remark = playback.remark
                    self._tell()
        finally:
            self._draw()  # the last picture stays, also for who comes later

    def _predict(self, played: Played, *, cut: bool, dropped: int) -> None:
        with self._engine_in_use:
            stream = self._engine.stream
            if cut:
                stream.reset()
            with self._meters.timed("predict"):
                saliency = stream.push(played.frame.image)
        self._undrawn = (played, saliency, dropped)
        if self._audience.watched:
            self._draw()

    def _draw(self) -> None:
        if self._undrawn is None:
            return
        (played, saliency, dropped), self._undrawn = self._undrawn, None
        look, frame = self._look, played.frame
        with self._meters.timed("draw"):
            picture = overlay(frame.image, saliency, look.max_width, look.alpha)
            heat = small_map(saliency)
        with self._meters.timed("encode"):
            parts = (jpeg(picture), jpeg(heat))
        self._serial += 1
        facts = {"serial": self._serial, **_told(frame, saliency, look.peaks)}
        message = picture_message({**facts, "dropped": dropped, **self._meters.reading()}, parts)
        self._audience.show(self._serial, message)

    # --- status -----------------------------------------------------------------------------------------

    def _tell(self) -> None:
        with self._lock:
            engine: Engine = self._engine
            facts = {
                "state": self._state,
                "remark": self._remark,
                "switching": self._switching,
                "source": self._source,
                "engine": engine.as_dict(),
                "offers": self._offers,
            }
            self._audience.tell(status_message(facts))


def _facts_of(source: Source, playback: Playback) -> dict[str, Any]:
    return {
        "name": source.name,
        "kind": source.kind,
        "size": list(source.size),
        "fps": source.fps,
        "live": source.live,
        "plays": _how_it_plays(source, playback),
    }


def _how_it_plays(source: Source, playback: Playback) -> str:
    if source.live:
        return "live"
    if playback.loops:
        return "plays in a loop"
    if source.path is None and source.expected is None:
        return ""  # no file, no camera: it may have no end
    return "one picture" if source.kind == "image" else "plays once"


def _told(frame: Frame, saliency: Saliency, peaks: int) -> dict[str, Any]:
    return {
        "frame": frame.index,
        "time": round(frame.time, 3),
        "name": frame.name,
        "size": list(saliency.size),
        "peaks": [
            {"x": round(peak.x, 1), "y": round(peak.y, 1), "value": round(peak.value, 3)}
            for peak in saliency.peaks(peaks)
        ],
    }
