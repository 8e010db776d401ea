"""Show a figure in a notebook with an alt text that states its finding, the same way on every execution."""

import base64
import hashlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import NothingToDraw, ReportError

DOTS_PER_INCH = 160  # two device pixels for each pixel of the page, so text stays sharp on fine screens
COLOURS = 128  # enough for lines, words and their soft edges
AROUND = 240  # opacity, of 255, of what is no image; the dark pages' filter goes by it (style.css)
SHORTEST_ALT = 30  # characters; less is a label, not a finding


def show(figure: Any, alt: str) -> None:
    """Display a matplotlib figure (or Axes, or seaborn grid) and close it.

    `alt` says in a sentence or two what the figure shows. It reaches the page as the image's alternative text, and,
    because nbval does not compare pictures, the plain-text form of the output holds it together with a digest of the
    data drawn: a figure that changes fails the check of the notebook. A figure of lines and words is handed to the page
    as a vector drawing too, in the metadata, which no committed notebook keeps.
    Raises ReportError when the alt text is too short to state a finding.
    """
    from IPython.display import display

    data, metadata = bundle(figure, alt)
    display(data, metadata=metadata, raw=True)


def show_if_any(draw: Callable[..., tuple[Any, str]], *arguments: Any, **options: Any) -> None:
    """Show `draw(*arguments, **options)`, or say why there is nothing to draw: records may still be missing."""
    try:
        figure, alt = draw(*arguments, **options)
    except NothingToDraw as reason:
        print(reason)
    else:
        show(figure, alt)


def bundle(figure: Any, alt: str) -> tuple[dict[str, str], dict[str, Any]]:
    """The MIME bundle of a figure, (data, metadata), as Jupyter stores it; the figure is closed."""
    import matplotlib.pyplot as pyplot

    from .base import themed

    figure = getattr(figure, "figure", figure)  # Axes and seaborn grids know their figure
    alt = " ".join(alt.split())
    if len(alt) < SHORTEST_ALT:
        raise ReportError(f"The alt text {alt!r} is too short; say in a sentence what the figure shows.")
    drawn = describe(figure)
    buffer = io.BytesIO()
    details: dict[str, Any] = {"alt": alt}
    photograph = any(axes.images for axes in figure.axes)
    with themed():
        whole = _laid_out(figure)
        figure.savefig(
            buffer,
            format="png",
            metadata={"Software": None},  # the version of matplotlib would change the bytes
            pil_kwargs={"compress_level": 0},  # read again at once
            **whole,
        )
        if photograph:
            picture, details["photograph"] = _told_apart(buffer, figure, whole), True
        else:
            picture, details["svg"] = _with_palette(buffer), _vector(figure, whole)
    pyplot.close(figure)
    details["width"], details["height"] = (int.from_bytes(picture[at : at + 4]) // 2 for at in (16, 20))  # PNG's header
    data = {"image/png": base64.b64encode(picture).decode("ascii"), "text/plain": f"Figure: {alt} [{drawn}]"}
    return data, {"image/png": details}


def _laid_out(figure: Any) -> dict[str, Any]:
    """Put everything into its place, once; what saves the figure with all that is in it and a little around."""
    import matplotlib

    figure.set_dpi(DOTS_PER_INCH)
    figure.draw_without_rendering()
    with matplotlib.rc_context({"figure.constrained_layout.use": False, "figure.autolayout": False}):
        figure.set_layout_engine(None)  # a figure with an engine, even with that of name "none", is drawn twice
    box = figure.get_tightbbox().padded(matplotlib.rcParams["savefig.pad_inches"])
    return {"bbox_inches": box, "facecolor": "white", "dpi": DOTS_PER_INCH}


def _vector(figure: Any, whole: dict[str, Any]) -> str:
    """A figure as SVG in base64, its words as words: outlines would take three times the room."""
    import matplotlib

    drawing = io.StringIO()
    details = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(drawing, format="svg", metadata=details, **whole)
    wide = drawing.getvalue().replace("'DejaVu Sans'", "'DejaVu Sans', Verdana")  # most other fonts are narrower
    return base64.b64encode(wide.replace("<svg ", '<svg xml:space="preserve" ', 1).encode()).decode("ascii")


def _with_palette(picture: io.BytesIO) -> bytes:
    """A PNG of lines and words with a palette of its own: a third of the size, and nobody sees the difference."""
    smaller = io.BytesIO()
    with Image.open(picture) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(smaller, "png", optimize=True)
    return smaller.getvalue()


def _told_apart(picture: io.BytesIO, figure: Any, whole: dict[str, Any]) -> bytes:
    """A PNG with images: these are opaque and keep their colours on dark pages, while the words and the ground around
    them are a little transparent, and turn dark."""
    try:
        with Image.open(picture) as image:
            pixels = np.array(image.convert("RGBA"))
    except UnidentifiedImageError:  # only its header was kept, where nobody looks at it
        return picture.getvalue()
    pixels[..., 3] = np.where(_images_alone(figure, whole, pixels.shape) > 0, 255, AROUND)
    told = io.BytesIO()
    Image.fromarray(pixels).save(told, "png")
    return told.getvalue()


def _images_alone(figure: Any, whole: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    """How far each pixel of a saved figure is covered by images, [height, width] on 0..255."""
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    others = [one for one in figure.findobj() if one.get_visible() and not isinstance(one, Figure | Axes | AxesImage)]
    for artist in others:
        artist.set_visible(False)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="rgba", **whole | {"facecolor": "none"})
    for artist in others:
        artist.set_visible(True)
    return np.frombuffer(drawn.getvalue(), np.uint8).reshape(shape)[..., 3]


def describe(figure: Any) -> str:
    """What is drawn, as `2 axes, 14 marks, data 1a2b3c4d`: the digest covers coordinates, pictures and words.

    Coordinates count in ten-thousandths of the largest, cut where round values never lie, so that the last bits, which
    differ between processors, do not count.
    """
    digest, marks = hashlib.sha256(), 0
    for axes in figure.axes:
        words = [axes.get_title(), axes.get_xlabel(), axes.get_ylabel(), *(text.get_text() for text in axes.texts)]
        digest.update("\n".join(words).encode())
        shapes = [line.get_xydata() for line in axes.lines]
        shapes += [patch.get_patch_transform().transform(patch.get_path().vertices) for patch in axes.patches]
        for collection in axes.collections:
            shapes.append(np.ma.filled(collection.get_offsets(), np.nan))
            shapes += [path.vertices for path in collection.get_paths()]
        shapes += [np.ma.filled(picture.get_array(), 0) for picture in axes.images]
        marks += len(axes.lines) + len(axes.patches) + len(axes.collections) + len(axes.images)
        for shape in shapes:
            digest.update(_rounded(np.asarray(shape, dtype=np.float64)))
    return f"{len(figure.axes)} axes, {marks} marks, data {digest.hexdigest()[:8]}"


def _rounded(values: np.ndarray) -> bytes:
    finite = values[np.isfinite(values)]
    largest = float(np.abs(finite).max()) if finite.size else 0.0
    scale = 1e4 / largest if largest > 0 else 1.0
    return np.floor(np.nan_to_num(values, posinf=0, neginf=0) * scale + 0.7310585).astype(np.int64).tobytes()
