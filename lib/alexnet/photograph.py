"""One image as people have it (a file, a Pillow image, an array) -> uint8 pixels, or an error that says what is wrong.

A file may be of any common kind. It is turned as its EXIF entry says; of an animation the first frame is taken; what
is transparent is laid on white; 16 bits a channel become 8. Each such step is noted in words, to be shown beside the
picture. Nothing is guessed: numbers of no known range are refused.
"""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from .errors import DataError

Source = str | Path | Image.Image | np.ndarray | Tensor

MOST_PIXELS = 90_000_000  # an image of 270 MB in memory; larger ones are taken for decompression bombs
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP")  # none runs a program
SIXTEEN_BITS = "16 bits a pixel brought to 8"
ORIENTATION, TURNED = 0x0112, range(2, 9)  # the EXIF entry, and its values that are not upright
TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
WHITE = (255, 255, 255, 255)
CHANNELS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
READING_ERRORS = (OSError, ValueError, SyntaxError, TypeError, EOFError, IndexError, KeyError, OverflowError)


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
        return _plain(source, "The image")
    if isinstance(source, Tensor):
        source = source.detach().cpu().float().numpy() if source.is_floating_point() else source.cpu().numpy()
    if isinstance(source, np.ndarray):
        return _from_array(source)
    raise DataError(f"A {type(source).__name__} is no image; give a path, a Pillow image or an array.")


def _from_file(path: Path) -> Photograph:
    try:
        if not path.is_file():  # nor does anything read from a pipe or a device
            what = "is a folder" if path.is_dir() else "is no file" if path.exists() else "does not exist"
            raise DataError(f"{path} {what}; name an image file.")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read: {reason}. Check its name and its rights.") from error
    if not content:
        raise DataError(f"{path} is empty; copy or download it again.")
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:
        with warnings.catch_warnings():  # Pillow warns of a size that is refused below
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=formats) as opened:
                return _plain(opened, str(path))
    except Image.DecompressionBombError as error:
        raise DataError(_too_large(str(path))) from error
    except Image.UnidentifiedImageError as error:
        known = ", ".join(formats)
        raise DataError(f"{path} is not an image of a kind that can be read here ({known}).") from error
    except READING_ERRORS as error:  # of many kinds, on damaged files
        raise _unreadable(str(path), error) from error


def _too_large(name: str) -> str:
    return f"{name} has more than {MOST_PIXELS // 1_000_000} million pixels; scale it down first."


def _unreadable(name: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return DataError(f"{name} cannot be read as an image: {reason}. Save it again as PNG or JPEG.")


def _plain(image: Image.Image, name: str) -> Photograph:
    """Any Pillow image in RGB or L, upright. The given image stays as it is, but for being loaded."""
    width, height = image.size
    if not width or not height:
        raise DataError(f"{name} has no pixels ({width}x{height}).")
    if width * height > MOST_PIXELS:
        raise DataError(_too_large(name))
    notes = []
    frames = getattr(image, "n_frames", 1)
    try:
        if frames > 1:
            notes.append(f"the first of {frames} frames")
            if image.tell():
                image.seek(0)
        image.load()
        if image.getexif().get(ORIENTATION, 1) in TURNED:
            notes.append("turned as its EXIF entry says")
        upright = ImageOps.exif_transpose(image)
        converted, how = _eight_bits(upright, sixteen=upright.mode == "I" and image.format == "PNG")
    except READING_ERRORS as error:
        raise _unreadable(name, error) from error
    return Photograph(converted, (*notes, *how))


def _eight_bits(image: Image.Image, sixteen: bool = False) -> tuple[Image.Image, list[str]]:
    """RGB or L, and what was done for it; `sixteen`: the numbers of 32 bits hold 16."""
    mode = image.mode
    if mode.startswith("I;16") or sixteen:
        return _scaled(np.asarray(image, dtype=np.float64) / 257), [SIXTEEN_BITS]
    if mode in ("I", "F"):
        found = _from_array(np.asarray(image))
        return found.image, list(found.notes)
    if "transparency" in image.info or mode in TRANSPARENT:
        coloured = image.convert("RGBA")
        if coloured.getchannel("A").getextrema() == (255, 255):
            return coloured.convert("RGB"), []
        ground = Image.new("RGBA", image.size, WHITE)
        ground.alpha_composite(coloured)
        return ground.convert("RGB"), ["transparent parts laid on white"]
    if mode in ("L", "1"):
        return image.convert("L"), []
    return image.convert("RGB"), ["CMYK brought to RGB"] * (mode == "CMYK")


def _scaled(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(values).astype(np.uint8))


def _from_array(array: np.ndarray) -> Photograph:
    pixels, notes = _to_uint8(_channels_last(array))
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels, CHANNELS[pixels.shape[-1]])
    converted, how = _eight_bits(image)
    return Photograph(converted, (*notes, *how))


def _channels_last(array: np.ndarray) -> np.ndarray:
    """[H, W, C] of an array in any of the orders that are told apart by their sizes."""
    shape: tuple[int, ...] = array.shape
    if array.ndim not in (2, 3):
        hint = " Give one image of the batch." if array.ndim == 4 else ""
        raise DataError(f"An array of shape {shape} is no image; it needs [H, W], [H, W, C] or [C, H, W].{hint}")
    if array.ndim == 2:
        array = array[..., None]
    elif shape[-1] not in CHANNELS and shape[0] in CHANNELS:
        array = array.transpose(1, 2, 0)
    if 0 in shape:
        raise DataError(f"An array of shape {shape} holds no pixels.")
    if array.shape[-1] not in CHANNELS:
        raise DataError(f"An array of shape {shape} has neither first nor last 1 to 4 channels.")
    height, width = array.shape[:2]
    if height * width > MOST_PIXELS:
        raise DataError(_too_large(f"The array of shape {shape}"))
    return array


def _to_uint8(array: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """uint8 [H, W, C] from numbers whose range is known."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array), []
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255, []
    if array.dtype.kind not in "iuf":
        raise DataError(f"An array of {array.dtype} is no image; give numbers.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError("The array holds values that are infinite or not a number; mend them first.")
    low, high = array.min(), array.max()
    if array.dtype == np.uint16:
        return np.rint(array / 257).astype(np.uint8), [SIXTEEN_BITS]
    if low < 0 or high > 255:
        hint = "Undo its normalisation" if array.dtype.kind == "f" else "Scale it"
        raise DataError(f"The array's values go from {low:g} to {high:g}, not from 0 to 1 or 255. {hint} first.")
    scale = 255 if array.dtype.kind == "f" and high <= 1 else 1
    return np.rint(array.astype(np.float64) * scale).astype(np.uint8), []
