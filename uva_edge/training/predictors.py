"""What can be scored: bundles in any backend, networks, baselines, and maps that were made elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from uva_edge.data.files import MAX_ARRAY_BYTES, read_arrays, read_grey
from uva_edge.data.footage import Footage
from uva_edge.data.numbering import list_numbered
from uva_edge.errors import DataError, OptionError
from uva_edge.preprocess import network_input
from uva_edge.runtimes import SaliencyPredictor
from uva_edge.training.baselines import find_baseline
from uva_edge.training.scoring import Predictor

if TYPE_CHECKING:
    from uva_edge.models.uva_net import UvaNet

Image: TypeAlias = NDArray[np.uint8]

_CHUNK: Final = 32
_CHECKPOINT: Final = ".safetensors"


def from_baseline(name: str) -> Predictor:
    """A baseline of `uva_edge.training.baselines`; raises OptionError when there is none of this name."""
    method = find_baseline(name)
    return Predictor(name, lambda _, frames: method(frames))


# --- networks ---------------------------------------------------------------------------------------------


@contextmanager
def from_bundle(
    bundle: str, *, backend: str = "auto", precision: str = "auto", threads: int = 1
) -> Iterator[Predictor]:
    """A bundle as `SaliencyPredictor` runs it: stills by themselves, each video as one stream.

    Its name says what really runs: the bundle as given, backend and precision. Raises what `SaliencyPredictor` does.
    """
    with SaliencyPredictor(bundle, backend=backend, precision=precision, threads=threads) as predictor:
        live = predictor.bundle.manifest.contract.pairing == "causal"

        def predict(_: Footage, frames: Iterable[Image]) -> Iterator[NDArray[np.float32]]:
            if not live:  # a map needs the frame after, which a stream does not have
                yield from predictor.predict_clip(frames)
                return
            with predictor.stream() as stream:
                for frame in frames:
                    yield stream.push(frame).map

        info = predictor.info
        yield Predictor(f"{bundle} {info.backend} {info.precision}", predict)


@contextmanager
def open_networks(
    sources: Sequence[str], backends: Sequence[str], precisions: Sequence[str], threads: int = 1
) -> Iterator[list[Predictor]]:
    """Checkpoints (.safetensors) once, bundles in each backend and precision; freed at the end of the block.

    Raises:
        OptionError: a backend or precision is asked for where there is no bundle.
        UvaEdgeError: what `from_bundle` and `from_checkpoint` raise.
    """
    bundles = [source for source in sources if not source.endswith(_CHECKPOINT)]
    asked = {*backends, *precisions} - {"auto"}
    if asked and not bundles:
        raise OptionError(
            f"{', '.join(sorted(asked))}: backends and precisions are of bundles, and none is named"
        )
    with ExitStack() as stack:
        opened: list[Predictor] = []
        for source in sources:
            if source not in bundles:
                opened.append(from_checkpoint(Path(source)))
                continue
            for backend, precision in product(backends, precisions):
                made = from_bundle(source, backend=backend, precision=precision, threads=threads)
                opened.append(stack.enter_context(made))
        yield opened


def from_checkpoint(path: Path) -> Predictor:
    """A checkpoint in torch, named as its file; raises DataError if it can't be read."""
    from uva_edge.models.checkpoint import load_checkpoint

    network, _ = load_checkpoint(path)
    return from_network(str(path), network)


def from_network(name: str, network: UvaNet) -> Predictor:
    """A network in torch, in eval mode, chained over each video; its own mode is put back after each step."""
    import torch

    from uva_edge.models.clip_step import ClipStep

    config, step = network.config, ClipStep(network)
    start = torch.zeros(config.state_shape)

    def run(frames: NDArray[np.uint8], state: torch.Tensor) -> tuple[NDArray[np.float32], torch.Tensor]:
        training = network.training
        network.eval()
        try:
            with torch.inference_mode():
                maps, state = step(torch.from_numpy(frames), state)
        finally:
            network.train(training)
        return maps.numpy(), state

    def predict(footage: Footage, frames: Iterable[Image]) -> Iterator[NDArray[np.float32]]:
        inputs = (network_input(frame, config.resolution) for frame in frames)
        for first in inputs:
            # The first frame is its own predecessor; with lookahead the last is its own successor.
            _, state = run(first[None], start)
            following = chain((first,), inputs) if config.pairing == "causal" else _with_last(first, inputs)
            while chunk := list(islice(following, _CHUNK)):
                maps, state = run(np.stack(chunk), state)
                yield from maps

    return Predictor(name, predict)


def _with_last(first: Image, rest: Iterator[Image]) -> Iterator[Image]:
    """The rest, and the last of all once more."""
    last = first
    for last in rest:
        yield last
    yield last


# --- maps from elsewhere ----------------------------------------------------------------------------------


def from_folder(folder: Path) -> Predictor:
    """Maps that were computed elsewhere, by the names of the stills and videos; of any size and scale.

    A still NAME has ``NAME.png`` or ``NAME.npy`` [h, w]; a video has a folder ``NAME`` of images or arrays
    whose names end in consecutive numbers, one a frame, or all in ``NAME.npy`` [frames, h, w] or ``NAME.npz``
    (the array ``maps``). A missing or unfit file is a DataError that names it.

    Raises:
        DataError: there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of maps")
    return Predictor(str(folder), lambda footage, frames: _stored_maps(folder, footage, frames))


def _stored_maps(folder: Path, footage: Footage, frames: Iterable[Image]) -> Iterator[NDArray[Any]]:
    source, maps = _open_maps(folder, footage)
    count = 0
    for _ in frames:
        saliency = next(maps, None)
        if saliency is None:
            raise DataError(f"{source}: maps of {count} frames, but {footage.name} has more")
        yield saliency
        count += 1
    if next(maps, None) is not None:
        raise DataError(f"{source}: more maps than the {count} frames of {footage.name}")


def _open_maps(folder: Path, footage: Footage) -> tuple[Path, Iterator[NDArray[Any]]]:
    """Where the maps of a still or video are, and the maps one after the other."""
    base = folder / footage.name
    readers = {
        base.with_name(f"{base.name}.npy"): _array_maps,
        base.with_name(f"{base.name}.npz"): _archive_maps,
    }
    if footage.kind == "still":
        readers[base.with_name(f"{base.name}.png")] = lambda path: iter((_read_map(path),))
    else:
        readers[base] = lambda path: map(_read_map, list_numbered(path, (".png", ".npy")).values())
    found = [path for path in readers if path.exists()]
    if len(found) != 1:
        raise DataError(
            f"{folder}: expected the maps of the {footage.kind} {footage.name} in one of "
            f"{', '.join(path.name for path in readers)}; {len(found)} of them are there"
        )
    return found[0], readers[found[0]](found[0])


def _array_maps(path: Path) -> Iterator[NDArray[Any]]:
    return _each_map(path, _read_array(path))


def _archive_maps(path: Path) -> Iterator[NDArray[Any]]:
    return _each_map(path, read_arrays(path, "maps")[0])


def _each_map(path: Path, maps: NDArray[Any]) -> Iterator[NDArray[Any]]:
    if maps.ndim not in (2, 3) or not maps.size:
        raise DataError(f"{path}: maps are [frames, h, w], or [h, w] of a still; got {maps.shape}")
    return (_checked(path, saliency) for saliency in (maps[None] if maps.ndim == 2 else maps))


def _read_map(path: Path) -> NDArray[Any]:
    return _checked(path, read_grey(path) if path.suffix.lower() == ".png" else _read_array(path))


def _read_array(path: Path) -> NDArray[Any]:
    try:
        if path.stat().st_size > MAX_ARRAY_BYTES:
            raise ValueError(f"it has more than {MAX_ARRAY_BYTES} bytes")
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected an array of maps in a .npy file; {error}") from None


def _checked(path: Path, saliency: NDArray[Any]) -> NDArray[Any]:
    """A map that can be scored."""
    real = saliency.ndim == 2 and saliency.size and saliency.dtype.kind in "fiub"
    if not real or not np.isfinite(saliency).all() or saliency.min() < 0:
        raise DataError(
            f"{path}: a map is [h, w] of finite numbers of at least 0; got {saliency.dtype} {saliency.shape}"
        )
    return saliency
