"""What of the machine could disturb a measurement: governor, load, throttling; and its energy meter.

Everything is read from /proc and /sys; what can't be read is said to be unknown, never taken for good.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from uva_edge import kernel_files

UNKNOWN: Final = "unknown"
_BUSY: Final = 0.5
"""Load per core above which other work is likely to take part of the time."""
_STEADY_GOVERNORS: Final = ("performance", UNKNOWN)
_FLAGS: Final = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
"""Bits of the Raspberry Pi's get_throttled, as of now."""


@dataclass(frozen=True)
class Host:
    """Where to read; tests give a tree of their own.

    Attributes:
        root: what ``/`` is.
    """

    root: Path = Path("/")

    def governors(self) -> str:
        """The CPU frequency governors, each once."""
        found = {
            _text(path) for path in self._each("sys/devices/system/cpu", "cpu[0-9]*/cpufreq/scaling_governor")
        }
        return ", ".join(sorted(found - {""})) or UNKNOWN

    def load(self) -> float | None:
        """Mean number of running tasks in the last minute."""
        words = _text(self.root / "proc/loadavg").split()
        return float(words[0]) if words else None

    def throttle_events(self) -> int | None:
        """How often the processor slowed down for its heat since it was started; None where it does not tell."""
        counts = [
            _number(path)
            for path in self._each("sys/devices/system/cpu", "cpu[0-9]*/thermal_throttle/core_throttle_count")
        ]
        known = [count for count in counts if count is not None]
        return sum(known) if known else None

    def quota_waits(self) -> int | None:
        """How often the process's control group ran into its CPU quota; None where there is none to tell."""
        for line in _text(self.root / "sys/fs/cgroup/cpu.stat").splitlines():
            name, _, value = line.partition(" ")
            if name == "nr_throttled":
                return int(value)
        return None

    def board_flags(self) -> str:
        """What a Raspberry Pi's firmware complains of now, "" for nothing or another board."""
        value = _text(self.root / "sys/devices/platform/soc/soc:firmware/get_throttled")
        bits = int(value, 16) if value else 0
        return ", ".join(word for bit, word in _FLAGS.items() if bits >> bit & 1)

    def temperature(self) -> float | None:
        """Of the hottest zone, in degrees Celsius."""
        zones = [_number(path) for path in self._each("sys/class/thermal", "thermal_zone*/temp")]
        known = [zone for zone in zones if zone is not None]
        return max(known) / 1000 if known else None

    def energy_uj(self) -> dict[str, tuple[int, int]]:
        """RAPL packages that can be read: name to microjoules so far, and where the counter wraps."""
        found = {}
        for folder in self._each("sys/class/powercap", "intel-rapl:[0-9]*"):
            if folder.name.count(":") > 1:  # a part of a package
                continue
            value, wrap = _number(folder / "energy_uj"), _number(folder / "max_energy_range_uj")
            if value is not None:
                found[folder.name] = (value, wrap or 0)
        return found

    def _each(self, folder: str, pattern: str) -> Iterator[Path]:
        yield from sorted((self.root / folder).glob(pattern))


def joules(before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]) -> float | None:
    """What the packages used between two readings of `Host.energy_uj`; None without a meter."""
    used = 0
    for name, (start, wrap) in before.items():
        if name not in after:
            return None
        end = after[name][0]
        used += end - start if end >= start else end - start + wrap
    return used / 1e6 if before else None


@dataclass(frozen=True)
class Conditions:
    """The machine at one moment of a run."""

    governor: str
    load: float | None
    throttle_events: int | None
    quota_waits: int | None
    board: str
    temperature: float | None

    @classmethod
    def now(cls, host: Host) -> Conditions:
        return cls(
            host.governors(),
            host.load(),
            host.throttle_events(),
            host.quota_waits(),
            host.board_flags(),
            host.temperature(),
        )


def describe(before: Conditions, after: Conditions, *, metered: bool) -> dict[str, str]:
    """The conditions of a run, each in words."""
    return {
        "governor": before.governor,
        "load before": _shown(before.load, ".2f"),
        "thermal throttling": _change(before.throttle_events, after.throttle_events),
        "CPU quota": _change(before.quota_waits, after.quota_waits),
        "board": after.board or "no complaint",
        "temperature": f"{_shown(before.temperature, '.0f')} to {_shown(after.temperature, '.0f')} °C",
        "energy": "RAPL" if metered else "no meter that can be read",
    }


def remarks(before: Conditions, after: Conditions, cores: int) -> list[str]:
    """What a reader must know before the times are believed."""
    said = []
    if before.governor not in _STEADY_GOVERNORS:
        said.append(
            f"The CPU governor is {before.governor}: the clock follows the load, and short calls may meet a slow one "
            "(to pin it: cpupower frequency-set -g performance)."
        )
    if before.load is not None and before.load > _BUSY * cores:
        said.append(
            f"The machine was busy before the run: load {before.load:.2f} on {cores} usable cores. Times are upper "
            "bounds."
        )
    if (after.throttle_events or 0) > (before.throttle_events or 0):
        said.append(
            "The processor throttled for its heat during the run: cool it, or take the times as its real ones."
        )
    if (after.quota_waits or 0) > (before.quota_waits or 0):
        said.append(
            "The process ran into its CPU quota during the run: the slowest times are waits, not work."
        )
    if after.board:
        said.append(f"The board complains of: {after.board}.")
    return said


def _change(before: int | None, after: int | None) -> str:
    if before is None or after is None:
        return UNKNOWN
    return f"{after - before} times during the run"


def _shown(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else format(value, form)


def _text(path: Path) -> str:
    return kernel_files.read(str(path)).strip()


def _number(path: Path) -> int | None:
    try:
        return int(_text(path))
    except ValueError:
        return None


def peak_rss_mb() -> float:
    """The most memory that this process had since it was started, in MB (2^20 bytes).

    Of ``VmHWM``: getrusage gives the peak of whatever program the process was before its exec.
    """
    for line in kernel_files.read("/proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return math.nan
