"""What a network costs: parameters and multiply-accumulates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from uva_edge.models.uva_net import UvaNet

_COUNTED = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)


@dataclass(frozen=True)
class Cost:
    """Parameters, and MACs of convolutions and deconvolutions (all other operators are left out)."""

    parameters: int
    macs_per_pair: int
    macs_of_features: int
    """``f_s`` on one frame."""

    @property
    def macs_per_step(self) -> int:
        """One frame of a stream, where ``f_s`` of its partner is known from the step before."""
        return self.macs_per_pair - self.macs_of_features


def cost_of(network: UvaNet) -> Cost:
    """Count the cost of one frame pair at the network's own resolution."""
    side = network.config.resolution
    frame = torch.zeros(1, side, side, 3, dtype=torch.uint8)
    features = count_macs(network, lambda: network.features(frame))
    return Cost(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        macs_per_pair=count_macs(network, lambda: network(frame, frame)),
        macs_of_features=features,
    )


def count_macs(network: nn.Module, call: Callable[[], object]) -> int:
    """Multiply-accumulates of the convolutions of `network` in one `call` that runs it, in eval mode."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        # A convolution makes each output from inputs / groups * kernel products; a deconvolution spends as
        # many on each input.
        assert isinstance(module, _COUNTED)
        taps = math.prod(module.kernel_size)
        if isinstance(module, nn.ConvTranspose2d):
            total += inputs[0].numel() * module.out_channels // module.groups * taps
        else:
            total += output.numel() * module.in_channels // module.groups * taps

    hooks = [
        module.register_forward_hook(count) for module in network.modules() if isinstance(module, _COUNTED)
    ]
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            call()
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return total
