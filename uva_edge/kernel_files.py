"""The small files in which a Linux kernel and its drivers tell about the machine."""

from __future__ import annotations


def read(path: str) -> str:
    """The text of such a file, at most 1 MiB of it; empty where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""


def board() -> str:
    """The model of a board that has a device tree, such as a Raspberry Pi or a Jetson."""
    return read("/proc/device-tree/model").rstrip("\0 \n")
