"""A picture of something that goes along a song, from left to right and from line to line like a score."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.formats import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE_SECONDS, MOST_LINES = 20.0, 24  # of the song per line of the picture; longer songs get longer lines

DrawLine = Callable[["Axes", float, float], None]  # on an axis, what goes on from a second on for some seconds


def draw_lines(path: Path, duration: float, draw: DrawLine, *, line_height: float, label: str) -> None:
    """Write a PNG of a song of ``duration`` seconds; ``line_height`` in inches, ``label`` below the last line."""
    from matplotlib.figure import Figure  # slow to import

    seconds = max(LINE_SECONDS, duration / MOST_LINES)
    n_lines = max(1, int(np.ceil(duration / seconds - 1e-9)))
    figure = Figure(figsize=(14, 0.6 + line_height * n_lines), layout="constrained")
    for i, axis in enumerate(figure.subplots(n_lines, 1, squeeze=False)[:, 0]):
        draw(axis, i * seconds, seconds)
        axis.set_xlim(i * seconds, i * seconds + min(seconds, max(duration, 0.1)))
        axis.locator_params(axis="x", nbins=20, integer=True)
    axis.set_xlabel(label)
    with replacing(path) as part, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name in a script that the font lacks is a row of boxes
        figure.savefig(part, dpi=80, format="png")
