"""A folder for the OpenVINO Model Server: its `config.json`, and the IR of the clip step. The state is the client's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

SETTINGS: Final = {
    # Without the hint the plugin takes bfloat16 where there is some, whose errors come back through the state.
    "INFERENCE_PRECISION_HINT": "f32",
    "PERFORMANCE_HINT": "LATENCY",
}


def ovms_files(ir: Mapping[str, bytes], name: str, folder: str) -> dict[str, bytes]:
    """The files of `folder`, whose one model is `name`, version 1; the IR's .xml is first, as it is in `ir`."""
    model = {"name": name, "base_path": name, "target_device": "CPU", "plugin_config": SETTINGS}
    config = {"model_config_list": [{"config": model}]}
    return {
        **{f"{folder}/{name}/1/{path}": data for path, data in ir.items()},
        f"{folder}/config.json": (json.dumps(config, indent=2) + "\n").encode(),
    }
