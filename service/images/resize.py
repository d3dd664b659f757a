"""Images of one model as another takes them: resized, and turned grey or coloured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps


def fitted(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Bring an image [H, W, C], C 1 or 3, to a size in pixels.

    The largest centred part of the wanted aspect is kept and resized with Lanczos's filter, as for training data.
    """
    channels = image.shape[2]
    if image.shape[:2] == (height, width):
        return image
    whole = Image.fromarray(image[:, :, 0] if channels == 1 else image)
    resized = ImageOps.fit(whole, (width, height), method=Image.Resampling.LANCZOS)
    return np.asarray(resized, np.uint8).reshape(height, width, channels)


def converted(images: NDArray[np.uint8], height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Bring images [N, H, W, C] to a size and a number of channels; both C are 1 (grey) or 3 (RGB)."""
    if images.shape[3] != channels:
        images = _grey(images) if channels == 1 else np.repeat(images, 3, axis=3)
    return np.stack([fitted(image, height, width) for image in images])


def _grey(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn RGB images [N, H, W, 3] grey [N, H, W, 1], with Pillow's weights, as image files are."""
    grey = [np.asarray(Image.fromarray(image).convert("L"), np.uint8) for image in images]
    return np.stack(grey)[..., np.newaxis]
