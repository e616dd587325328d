"""``python -m uva_edge`` is the command `uva-edge`."""

from uva_edge.cli import main

main(prog_name="uva-edge")
