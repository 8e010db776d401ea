"""One image as people have it (a file, a Pillow image, an array) -> uint8 pixels, or an error that says what is wrong.

A file may be of any common kind. It is turned as its EXIF entry says; of an animation the first frame is taken; what
is transparent is laid on white; 16 bits a channel become 8. Each such step is noted in words, to be shown beside the
picture. Nothing is guessed: numbers of no known range are refused.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import DataError

Source = str | Path | Image.Image | np.ndarray | Tensor

MOST_PIXELS = 90_000_000  # an image of 270 MB in memory; larger ones are taken for decompression bombs
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP")  # none runs a program
SIXTEEN_BITS, ON_WHITE = "16 bits a pixel brought to 8", "transparent parts laid on white"
ORIENTATION = 0x0112  # the EXIF entry
TURNS = {  # its values that are not upright, and what brings each upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BITS, PHOTOMETRIC = 0x0102, 0x0106  # TIFF's entries: bits of a pixel, and what its numbers mean
TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else what it logs of a file is printed beside our error
CHANNELS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Photograph:
    """An image in plain 8-bit colours or greys."""

    image: Image.Image  # of mode RGB or L
    notes: tuple[str, ...] = ()  # what was done to bring it there

    def square(self, side: int, channels: int) -> np.ndarray:
        """uint8 [side, side, channels]: the central square, brought to that size; as it is where it has that size.

        Section 2 brings the shorter side to the size and cuts out the middle; cutting first gives the same square
        and costs no memory for long strips.
        """
        image = self.image.convert("L" if channels == 1 else "RGB")
        width, height = image.size
        if (width, height) != (side, side):
            shorter = min(width, height)
            left, top = (width - shorter) // 2, (height - shorter) // 2
            box = (left, top, left + shorter, top + shorter)
            image = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
        return np.asarray(image).reshape(side, side, channels)


def read(source: Source) -> Photograph:
    """The image of a path, a Pillow image, or an array. Raises `DataError` for what is none.

    Arrays and tensors are [H, W], [H, W, C] or [C, H, W] with 1 to 4 channels: grey, grey and alpha, RGB, RGB and
    alpha. Values: uint8, uint16 over its whole range, truth values, other integers from 0 to 255, or floats from 0
    to 1; floats of which one is larger than 1 count from 0 to 255.
    """
    if isinstance(source, str | Path):
        return _from_file(Path(source))
    if isinstance(source, Image.Image):
        with _decoding("The image"):
            return _plain(source, "The image")
    if isinstance(source, Tensor):
        return _from_array(_numbers(source))
    if isinstance(source, np.ndarray):
        return _from_array(source)
    raise DataError(f"A {type(source).__name__} is no image; give a path, a Pillow image or an array.")


def _numbers(tensor: Tensor) -> np.ndarray:
    try:
        return tensor.detach().cpu().float().numpy() if tensor.is_floating_point() else tensor.cpu().numpy()
    except (RuntimeError, TypeError) as error:  # sparse, quantised, without storage
        raise DataError(f"A tensor of {tensor.dtype}, {tensor.layout}, is no image; give a dense one.") from error


def _from_file(path: Path) -> Photograph:
    try:
        if not path.is_file():  # nor does anything read from a pipe or a device
            what = "is a folder" if path.is_dir() else "is no file" if path.exists() else "does not exist"
            raise DataError(f"{path} {what}; name an image file.")
        file = path.open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read: {reason}. Check its name and its rights.") from error
    with file, warnings.catch_warnings():  # Pillow warns of a size that is refused below, and of damaged entries
        warnings.simplefilter("ignore")
        if not os.fstat(file.fileno()).st_size:
            raise DataError(f"{path} is empty; copy or download it again.")
        with _decoding(str(path)), _without_remarks(), Image.open(file, formats=_formats()) as opened:
            if opened.format == "TIFF":
                with suppress(Exception):  # entries that are nothing to us, and that loading would read
                    exif = opened.getexif()
                    for entry in set(exif) - {ORIENTATION}:
                        del exif[entry]
            return _plain(opened, str(path))


def _formats() -> list[str]:
    """Those that this build of Pillow can read."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Whatever a damaged image makes its decoder raise names the image."""
    try:
        yield
    except DataError:
        raise
    except Image.UnidentifiedImageError as error:
        known = ", ".join(_formats())
        raise DataError(f"{name} is not an image of a kind that can be read here ({known}).") from error
    except Image.DecompressionBombError as error:
        raise DataError(_too_large(name)) from error
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise DataError(f"{name} cannot be read as an image: {reason}. Save it again as PNG or JPEG.") from error


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Without what libtiff prints of a damaged file, up to a line for each of its rows; our error says it in one."""
    standard_error = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)


def _too_large(name: str) -> str:
    return f"{name} has more than {MOST_PIXELS // 1_000_000} million pixels; scale it down first."


def _plain(image: Image.Image, name: str) -> Photograph:
    """Any Pillow image in RGB or L, upright. The given image stays as it is, but for being loaded."""
    width, height = image.size
    if not width or not height:
        raise DataError(f"{name} has no pixels ({width}x{height}).")
    if width * height > MOST_PIXELS:
        raise DataError(_too_large(name))
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"the first of {frames} frames")
        if image.tell():
            image.seek(0)
    white, deep, negative = _white(image), _deep_colours(image), _is_negative(image)  # PNG's EXIF entry loads it
    if _orientation(image) in TURNS:
        notes.append("turned as its EXIF entry says")
    image.load()
    turn = TURNS.get(_orientation(image))  # of a TIFF none is left: loading has turned it
    upright = image if turn is None else image.transpose(turn)
    converted, how = _eight_bits(upright, name) if white is None else _eight_bits_of_greys(upright, white)
    converted = ImageOps.invert(converted) if negative else converted
    return Photograph(converted, (*notes, *[SIXTEEN_BITS] * deep, *how))


def _orientation(image: Image.Image) -> int:
    """EXIF's number for how the image is turned: 1, upright, where there is no such entry or it is damaged."""
    try:
        value = image.getexif().get(ORIENTATION)
    except Exception:  # of many kinds; the pixels may be whole all the same
        return 1
    return value if isinstance(value, int) else 1


def _white(image: Image.Image) -> int | None:
    """The number of white in greys of more than 8 bits, where the kind of file tells it; 0 is black."""
    if not image.mode.startswith("I;16") and not (image.mode == "I" and image.format in ("PNG", "PPM")):
        return None
    return 4095 if getattr(image, "tag_v2", {}).get(BITS) == (12,) else 65535


def _is_negative(image: Image.Image) -> bool:
    """Whether 0 is white, as a TIFF may have it; Pillow sees to that only for up to 8 bits."""
    return image.mode in ("I;16", "F") and getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0


def _deep_colours(image: Image.Image) -> bool:
    """Whether an image not yet loaded has colours of 16 bits in its file.

    Pillow keeps the upper 8, which are at most 1 away from what the whole number rounds to.
    """
    if image.mode.startswith("I"):
        return False
    arguments = [tile[3] if isinstance(tile[3], tuple) else (tile[3], 0) for tile in getattr(image, "tile", [])]
    return any(";16" in str(raw) or (image.format == "PPM" and most > 255) for raw, most, *_ in arguments)


def _eight_bits_of_greys(image: Image.Image, white: int) -> tuple[Image.Image, list[str]]:
    values = np.asarray(image)
    pixels, notes = _scaled(values, white), [f"{white.bit_length()} bits a pixel brought to 8"]
    hidden = values == image.info.get("transparency", -1)
    if hidden.any():
        pixels[hidden] = 255
        notes.append(ON_WHITE)
    return Image.fromarray(pixels), notes


def _scaled(values: np.ndarray, white: int = 65535) -> np.ndarray:
    """uint8 of whole numbers from 0 to white; float32 rounds them as exact arithmetic does."""
    greys = values.astype(np.float32)
    greys *= 255 / white
    return np.rint(greys, out=greys).astype(np.uint8)


def _eight_bits(image: Image.Image, name: str) -> tuple[Image.Image, list[str]]:
    """RGB or L, and what was done for it."""
    mode = image.mode
    if mode in ("I", "F"):
        found = _from_array(np.asarray(image), name)
        return found.image, list(found.notes)
    if "transparency" in image.info or mode in TRANSPARENT:
        coloured = (image.convert("LA") if mode == "La" else image).convert("RGBA")
        if coloured.getchannel("A").getextrema() == (255, 255):
            return coloured.convert("RGB"), []
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(coloured)
        return ground.convert("RGB"), [ON_WHITE]
    if mode in ("L", "1"):
        return image.convert("L"), []
    return image.convert("RGB"), ["CMYK brought to RGB"] * (mode == "CMYK")


def _from_array(array: np.ndarray, name: str = "The array") -> Photograph:
    pixels, notes = _to_uint8(_channels_last(array), name)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels, CHANNELS[pixels.shape[-1]])
    converted, how = _eight_bits(image, name)
    return Photograph(converted, (*notes, *how))


def _channels_last(array: np.ndarray) -> np.ndarray:
    """[H, W, C] of an array in any of the orders that are told apart by their sizes."""
    shape: tuple[int, ...] = array.shape
    if array.ndim not in (2, 3):
        hint = " Give one image of the batch." if array.ndim == 4 else ""
        raise DataError(f"An array of shape {shape} is no image; it needs [H, W], [H, W, C] or [C, H, W].{hint}")
    if 0 in shape:
        raise DataError(f"An array of shape {shape} holds no pixels.")
    if array.ndim == 2:
        array = array[..., None]
    elif shape[-1] not in CHANNELS and shape[0] in CHANNELS:
        array = array.transpose(1, 2, 0)
    if array.shape[-1] not in CHANNELS:
        raise DataError(f"An array of shape {shape} has neither first nor last 1 to 4 channels.")
    if array.shape[0] * array.shape[1] > MOST_PIXELS:
        raise DataError(_too_large(f"The array of shape {shape}"))
    return array


def _to_uint8(array: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    """uint8 [H, W, C] from numbers whose range is known."""
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array), []
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255, []
    if array.dtype.kind not in "iuf":
        raise DataError(f"An array of {array.dtype} is no image; give numbers.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{name} holds values that are infinite or not a number; mend them first.")
    low, high = array.min(), array.max()
    if array.dtype == np.uint16:
        return _scaled(array), [SIXTEEN_BITS]
    if low < 0 or high > 255:
        hint = "Undo its normalisation" if array.dtype.kind == "f" else "Scale it"
        raise DataError(f"{name}: its values go from {low:g} to {high:g}, not from 0 to 1 or 255. {hint} first.")
    scale = 255 if array.dtype.kind == "f" and high <= 1 else 1
    return np.rint(array.astype(np.float64) * scale).astype(np.uint8), []
