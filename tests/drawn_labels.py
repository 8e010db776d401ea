"""Whether the words of a figure can be read: none lies on another, and the edge cuts none.

What counts is what Agg draws, line by line of text, while a figure is saved. The kernels of the notebooks that are
compared with their outputs watch each figure of the report so, with the numbers of its page (patient_nbval).
"""

import io
import itertools
from typing import Any

from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D, Bbox

SOFT = 1.0  # pixels that boxes may share: the soft edges of letters
HEADER = 33  # bytes of a PNG that hold its size
DRAW, SAVE = RendererAgg.draw_text, Figure.savefig
words: list[tuple[str, Bbox, Bbox]] = []  # of the figure saved last: what is written, where, and the whole picture


def faults(figure: Figure, **options: Any) -> list[str]:
    """Save a figure as PNG; what is wrong with its words, one sentence each."""
    words.clear()
    RendererAgg.draw_text = _draw
    try:
        SAVE(figure, **{"fname": io.BytesIO(), "format": "png"} | options)
    finally:
        RendererAgg.draw_text = DRAW
    pairs = itertools.combinations(words, 2)
    found = [f"{one!r} lies on {other!r}" for (one, a, _), (other, b, _) in pairs if _share(a, b)]
    return found + [f"the edge cuts {word!r}" for word, box, whole in words if not _within(box, whole)]


def _draw(renderer: RendererAgg, gc: Any, x: float, y: float, s: str, prop: Any, angle: float, ismath: Any, mtext: Any):
    width, height, _ = renderer.get_text_width_height_descent(s, prop, ismath)
    place = Affine2D().rotate_deg(angle).translate(x, renderer.height - y)
    if s.strip():
        whole = Bbox.from_bounds(0, 0, renderer.width, renderer.height)
        words.append((s, Bbox.from_bounds(0, 0, width, height).transformed(place), whole))
    DRAW(renderer, gc, x, y, s, prop, angle, ismath, mtext)


def _share(one: Bbox, other: Bbox) -> bool:
    both = Bbox.intersection(one, other)
    return both is not None and min(both.width, both.height) > SOFT


def _within(box: Bbox, whole: Bbox) -> bool:
    allowed = whole.padded(SOFT)
    return Bbox.union([box, allowed]).bounds == allowed.bounds


def watch() -> None:
    """From now on a figure whose words cannot be read is not saved as PNG in this process, and of the others only what
    tells their size is: to compress pictures that nobody looks at takes as long as to draw them."""
    Figure.savefig = _save


def _save(figure: Figure, fname: Any, **options: Any) -> None:
    if options.get("format") != "png":
        return SAVE(figure, fname, **options)
    picture = io.BytesIO()
    found = faults(figure, **options | {"fname": picture, "pil_kwargs": {"compress_level": 0}})
    assert not found, f"words of a figure cannot be read: {'; '.join(found)}"
    fname.write(picture.getvalue()[:HEADER])
