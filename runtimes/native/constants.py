"""What the C of an artifact is made from: float parameters of a checkpoint, or the integers of an int8 network."""

from __future__ import annotations

from typing import TypeAlias

from uva_edge.manifest import Contract, Network

from .backend import INTEGERS
from .integers import Integers
from .parameters import Parameters, read_parameters
from .topology import Topology

Constants: TypeAlias = "Integers | tuple[Topology, Parameters]"


def constants_of(network: Network, contract: Contract, format_: str, data: bytes) -> Constants:
    """From the file of an artifact of the format "torch" or "native".

    Raises:
        SessionError: the C knows no such network, or the file is not what it should be.
    """
    topology = Topology.of(network, contract)
    if format_ == INTEGERS:
        return Integers.from_bytes(data, topology)
    return topology, read_parameters(data, topology)
