"""UVA-Net as plain C: its constants, the numpy reference of its integers, the source that is generated from them."""
