"""Checkpoint to bundle (extra `export`): ONNX and the gates that nothing passes unmeasured."""
