"""Two processes that share each batch compute what one would: batch norm by itself, and whole runs by torchrun."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from uva_edge.cli import main  # noqa: E402
from uva_edge.models.checkpoint import load_checkpoint  # noqa: E402
from uva_edge.training.parallel import GlobalBatchNorm2d, with_global_batch_norm  # noqa: E402

COMPARISON = """
import copy
import torch
from torch.distributed import all_reduce, destroy_process_group, get_rank, init_process_group
from torch.nn.parallel import DistributedDataParallel
from uva_edge.models.blocks import CAResBlock, ConvBlock
from uva_edge.training.parallel import with_global_batch_norm

init_process_group("gloo")
torch.manual_seed(0)
mine = slice(get_rank(), None, 2)


def compare(whole, values, upstream, tolerance):
    shared = with_global_batch_norm(copy.deepcopy(whole))
    spread = DistributedDataParallel(shared)
    optimizers = [torch.optim.AdamW(network.parameters(), lr=1e-2) for network in (whole, shared)]
    for _ in range(4):
        one, two = values.clone().requires_grad_(), values[mine].clone().requires_grad_()
        expected, found = whole(one), spread(two)
        torch.testing.assert_close(found, expected[mine], rtol=tolerance, atol=tolerance)
        for optimizer in optimizers:
            optimizer.zero_grad()
        (expected * upstream).mean().backward()
        (found * upstream[mine]).mean().backward()
        # Each process has the mean of its own half.
        torch.testing.assert_close(two.grad / 2, one.grad[mine], rtol=tolerance, atol=tolerance)
        for ours, theirs in zip(shared.parameters(), whole.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=tolerance, atol=tolerance)
        for optimizer in optimizers:
            optimizer.step()
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(shared.state_dict()[name], value, rtol=tolerance, atol=tolerance)


network = torch.nn.Sequential(ConvBlock(3, 8, 3), CAResBlock(8, 16, stride=2), CAResBlock(16, 16)).double()
compare(network, torch.randn(4, 3, 8, 8).double(), torch.randn(4, 16, 4, 4).double(), 1e-9)

# Channels whose mean is large beside their spread keep their variance in single precision.
place = torch.tensor([0.0, 3.0, 1000.0])[:, None, None]
compare(torch.nn.Sequential(torch.nn.BatchNorm2d(3)), torch.randn(4, 3, 5, 5) + place, torch.randn(4, 3, 5, 5), 1e-3)

norm = with_global_batch_norm(torch.nn.Sequential(torch.nn.BatchNorm2d(3)))
assert norm(torch.randn(4, 3, 5, 5).to(torch.bfloat16)).dtype == torch.bfloat16
assert norm[0].running_mean.dtype == torch.float32
destroy_process_group()
print("the same")
"""


def launch(*words: Any) -> subprocess.CompletedProcess[str]:
    """Two processes under torchrun, which finds a free port itself."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_batch_norm_and_gradients_of_two_processes_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    script = tmp_path / "comparison.py"
    script.write_text(COMPARISON)
    result = launch(script)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("the same") == 2


def test_batch_norms_are_replaced_with_all_they_know() -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 1), torch.nn.Sequential(torch.nn.BatchNorm2d(2, 0.1, 0.3))
    )
    network(torch.randn(2, 1, 3, 3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    norm = with_global_batch_norm(network)[1][0]
    assert isinstance(norm, GlobalBatchNorm2d)
    assert (norm.eps, norm.momentum) == (0.1, 0.3)
    assert list(network.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def losses(run: Path) -> list[float]:
    with (run / "log.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.usefixtures("restored_threads")
def test_two_processes_train_as_one(data: Path, tmp_path: Path) -> None:
    """The command line of docs/training.md: the same losses, and in the end the same weights."""
    recipe = tmp_path / "recipe.toml"
    # Adam's first steps are as long for the noise of a rounding as for a gradient: short ones keep it small.
    recipe.write_text(
        "steps = 3\nstudent_steps = 2\n[network]\nresolution = 32\n[mix]\nstills = 2\nvideos = 2\n"
        '[optimisation]\nschedule = "constant"\nlearning_rate = 1e-5\n'
    )
    words = ["train", "--data", data, "--recipe", recipe, "--accelerator", "cpu", "--eager"]
    words += ["--evaluate-every", 1, "--cache", tmp_path / "cache"]
    one, two = tmp_path / "one", tmp_path / "two"
    alone = CliRunner().invoke(main, [*map(str, words), "-o", str(one)])
    assert alone.exit_code == 0, alone.output
    result = launch("-m", "uva_edge", *words, "-o", two)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [str(two / "checkpoint.safetensors")]
    expected, found = losses(one), losses(two)
    assert len(found) == 5
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    assert found == pytest.approx(expected, rel=1e-4)
    networks = [load_checkpoint(run / "checkpoint.safetensors")[0].state_dict() for run in (one, two)]
    for name, value in networks[0].items():
        torch.testing.assert_close(networks[1][name], value, rtol=1e-2, atol=2e-3, msg=name)
