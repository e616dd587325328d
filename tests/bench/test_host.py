"""What disturbs a measurement, from trees of /proc and /sys that tests make."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from uva_edge.runtimes.bench.host import (
    UNKNOWN,
    Conditions,
    Host,
    describe,
    joules,
    peak_rss_mb,
    remarks,
)


def write(root: Path, files: dict[str, str]) -> Host:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    return Host(root)


def conditions(**changes: object) -> Conditions:
    quiet = Conditions("performance", 0.1, 0, 0, "", 40.0)
    return Conditions(**{**vars(quiet), **changes})


def test_a_machine_that_tells_nothing_is_unknown(tmp_path: Path) -> None:
    now = Conditions.now(Host(tmp_path))
    assert now == Conditions(UNKNOWN, None, None, None, "", None)
    words = describe(now, now, metered=False)
    assert words["thermal throttling"] == words["CPU quota"] == words["governor"] == UNKNOWN
    assert words["energy"] == "no meter that can be read"
    assert remarks(now, now, 4) == []


def test_what_a_machine_tells(tmp_path: Path) -> None:
    host = write(
        tmp_path,
        {
            "proc/loadavg": "0.75 0.50 0.25 1/200 4242\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
            "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance\n",
            "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3\n",
            "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "4\n",
            "sys/fs/cgroup/cpu.stat": "usage_usec 1\nnr_periods 9\nnr_throttled 5\n",
            "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
            "sys/class/thermal/thermal_zone0/temp": "45000\n",
            "sys/class/thermal/thermal_zone1/temp": "61500\n",
            "sys/class/thermal/thermal_zone2/temp": "nonsense\n",
        },
    )
    found = Conditions.now(host)
    assert found == Conditions("performance, powersave", 0.75, 7, 5, "under-voltage, throttled", 61.5)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({"governor": "powersave"}, {}, "governor is powersave"),
        ({"load": 3.0}, {}, "busy before the run: load 3.00 on 4"),
        ({}, {"throttle_events": 2}, "throttled for its heat"),
        ({}, {"quota_waits": 1}, "CPU quota"),
        ({}, {"board": "under-voltage"}, "complains of: under-voltage"),
    ],
)
def test_each_disturbance_is_said(before: dict[str, object], after: dict[str, object], words: str) -> None:
    assert remarks(conditions(), conditions(), 4) == []
    (said,) = remarks(conditions(**before), conditions(**after), 4)
    assert words in said


def test_the_energy_meter(tmp_path: Path) -> None:
    meter = {
        "sys/class/powercap/intel-rapl:0/energy_uj": "900\n",
        "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "1000\n",
        "sys/class/powercap/intel-rapl:0:0/energy_uj": "5\n",
        "sys/class/powercap/intel-rapl:1/energy_uj": "10\n",
        "sys/class/powercap/intel-rapl:1/max_energy_range_uj": "1000\n",
    }
    before = write(tmp_path, meter).energy_uj()
    assert before == {"intel-rapl:0": (900, 1000), "intel-rapl:1": (10, 1000)}, (
        "parts of a package count once"
    )
    meter["sys/class/powercap/intel-rapl:0/energy_uj"] = "100\n"  # it wrapped
    meter["sys/class/powercap/intel-rapl:1/energy_uj"] = "30\n"
    after = write(tmp_path, meter).energy_uj()
    assert joules(before, after) == pytest.approx((200 + 20) / 1e6)


def test_no_meter_is_no_energy() -> None:
    assert joules({}, {}) is None
    assert joules({"intel-rapl:0": (1, 2)}, {}) is None, "it went away"


def test_the_peak_of_memory_is_that_of_this_process() -> None:
    before = peak_rss_mb()
    assert not math.isnan(before)
    block = np.ones(64 << 20, np.uint8)
    assert peak_rss_mb() >= 64
    assert block.any()
