"""From the bytes of an image file to uint8 pixels: simplejpeg for JPEG, PIL for the rest.

Both use libjpeg-turbo with the accurate DCT and smooth upsampling, so they agree bit for bit
(measured: CIFAR-10 and three chroma samplings). What simplejpeg finds odd, PIL decides, as in
torchvision's ImageFolder; the EXIF orientation is ignored, as there.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from lightning_modules.data.errors import CorruptImageError

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]

_JPEG = b"\xff\xd8\xff"
_SIXTEEN = ("PNG", "PPM")  # formats that hold at most 16 bits, whatever mode PIL gives them
_DIRECT = ("YCbCr", "Gray")  # CMYK and rarer colour spaces are converted by PIL
# libjpeg scales by eighths while decoding. Above a half it is slower than decoding all and the
# resize gains less (measured, tests/benchmarks/decoding.py).
_SCALES = (1 / 8, 2 / 8, 3 / 8, 4 / 8)
_SMALLEST = 64  # pixels per side; below, eighths of a side cannot be told apart and nothing is won


def decode_image(data: bytes, name: str) -> Pixels:
    """Return the pixels of an image file as RGB, `(height, width, 3)`.

    Args:
        data: The content of the file.
        name: How a `CorruptImageError` calls the file.
    """
    if data.startswith(_JPEG):
        pixels = _decode_jpeg(data)
        if pixels is not None:
            return pixels
    return _decode_with_pil(data, name)


def decode_scaled(data: bytes, least: float) -> tuple[Pixels, float] | None:
    """Return the pixels of a JPEG at a scale of 1/2 or less, and the scale; None where neither is.

    The accurate DCT and smooth upsampling stay: giving them up gains 3 % (measured).

    Args:
        data: The content of the file.
        least: The scale that is enough.
    """
    import simplejpeg

    scale = next((one for one in _SCALES if one >= least), None)
    if scale is None or not data.startswith(_JPEG):
        return None
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        if colorspace not in _DIRECT or min(height, width) < _SMALLEST:
            return None
        tall, wide = math.ceil(height * scale), math.ceil(width * scale)
        pixels = simplejpeg.decode_jpeg(
            data, "RGB", min_height=tall, min_width=wide, min_factor=1 / _SCALES[-1]
        )
    except ValueError:
        return None
    return (cast(Pixels, pixels), scale) if pixels.shape[:2] == (tall, wide) else None


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return `(height, width)` from the header alone, or None where it cannot be read."""
    from PIL import Image

    if data.startswith(_JPEG):
        import simplejpeg

        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        except ValueError:
            pass
        else:
            return int(height), int(width)
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.height, image.width
    except MemoryError:
        raise
    except Exception:  # PIL raises a dozen types for a broken header; decoding will name the file
        return None


def _decode_jpeg(data: bytes) -> Pixels | None:
    import simplejpeg

    try:
        _, _, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        if colorspace not in _DIRECT:
            return None
        return cast(Pixels, simplejpeg.decode_jpeg(data, "RGB"))
    except ValueError:
        return None


def _decode_with_pil(data: bytes, name: str) -> Pixels:
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise CorruptImageError(name, "the file is empty")
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.array(_rgb(image), dtype=np.uint8)
    except MemoryError:
        raise
    except UnidentifiedImageError:
        raise CorruptImageError(name, "not an image that PIL knows") from None
    except Exception as error:  # PIL raises a dozen types for broken files
        raise CorruptImageError(name, str(error) or type(error).__name__) from error


def _rgb(image: Image) -> Image:
    from PIL import Image as PIL_Image

    if image.mode == "P":  # PIL warns about transparency that a conversion to RGB drops anyway
        image.load()
        image.info.pop("transparency", None)
    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format in _SIXTEEN)
    if sixteen:  # PIL's own conversion cuts at 255: all but white
        image = PIL_Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"32-bit pixels (mode {image.mode}) have no agreed range; store 8 bits")
    return image.convert("RGB")
