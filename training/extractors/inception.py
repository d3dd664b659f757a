"""The extractor of the Inception score, FID and KID, from a weights file that the user provides.

    extractor = InceptionFeatures.load(Path("weights-inception-2015-12-05-6726825d.pth"))
    seen = extractor(images)                           # seen.features [N, 2048], seen.probabilities [N, 1008]

The weights do not ship with the project. A file's digest is checked before it is parsed; only with the file that
torch-fidelity and pytorch-fid use do the scores get their well-known names. A `.pth` is read without executing code
in it, and a `.safetensors` cannot contain any.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from training.errors import RunError
from training.extractors.extractor import ExtractorOutput, must_be_images
from training.networks.inception import CLASSES, FEATURES, SIDE, Inception
from training.scores.names import FORMULAS, INCEPTION, ScoreNames

# Of weights-inception-2015-12-05-6726825d.pth: the release of torch-fidelity 0.2.0, 95,628,359 bytes, the same as
# pytorch-fid's pt_inception-2015-12-05-6726825d.pth. As PyTorch Hub wants it, a file's name ends in the first eight
# digits; several public evaluation logs give all of them.
KNOWN_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
MAX_FILE_BYTES = 512 * 2**20  # the published file has 96 MB
MICRO_BATCH = 32  # images of 299 x 299 per forward pass, which bounds the memory
COUNTER = ".num_batches_tracked"  # of batch normalisation; unused, and missing in some files


class InceptionFeatures:
    """Inception-v3 of 2015-12-05 with weights from a file; see `load`."""

    def __init__(self, network: Inception, sha256: str) -> None:
        self._network = network.eval().requires_grad_(False)
        self._sha256 = sha256
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network.to(self._device)

    @classmethod
    def load(cls, path: Path, *, sha256: str = KNOWN_SHA256) -> InceptionFeatures:
        """Load weights.

        Args:
            path: `.pth` or `.safetensors` file with the network's state dict.
            sha256: the required digest of the file, in hexadecimal.

        Raises:
            RunError: if the file is missing, or has a different digest, ending or set of weights.
        """
        content = _checked_content(path, sha256)
        with torch.device("meta"):
            network = Inception()
        state = _fitting(_state_of(path, content), network.state_dict(), path)
        network.load_state_dict(state, assign=True)
        return cls(network, sha256.lower())

    @property
    def sha256(self) -> str:
        """Identity of the weights: sha256 of the file."""
        return self._sha256

    @property
    def names(self) -> ScoreNames:
        """The well-known names for the published file, else those of the formulas."""
        return INCEPTION if self._sha256 == KNOWN_SHA256 else FORMULAS

    @property
    def image_shape(self) -> None:
        """None: images of any size, grey or colour, are accepted."""
        return None

    @property
    def features(self) -> int:
        """F, the width of the last pooling."""
        return FEATURES

    @property
    def classes(self) -> int:
        """K, the number of the graph's classes."""
        return CLASSES

    @property
    def facts(self) -> dict[str, Any]:
        """The network, and whether its weights are the published ones."""
        return {"network": "Inception-v3, 2015-12-05", "known": self._sha256 == KNOWN_SHA256}

    def treatment(self, image_shape: tuple[int, int, int]) -> str:
        """Return the preprocessing of images (H, W, C): resizing, and grey to three channels."""
        height, width, channels = image_shape
        grey = ", grey repeated in 3 channels" if channels == 1 else ""
        return f"{width}x{height} to {SIDE}x{SIDE}, bilinear as in TensorFlow 1{grey}"

    def __call__(self, images: NDArray[np.uint8], *, report: Callable[[int], None] = lambda _: None) -> ExtractorOutput:
        """Extract features in micro-batches, on a GPU if torch finds one.

        Args:
            images: uint8 [N, H, W, C], N >= 1, C 1 or 3.
            report: called with the number of images just done.

        Raises:
            ScoreError: if the images are malformed.
        """
        must_be_images(images)
        features = np.empty((len(images), FEATURES), np.float32)
        probabilities = np.empty((len(images), CLASSES), np.float32)
        for start in range(0, len(images), MICRO_BATCH):
            rows = slice(start, min(start + MICRO_BATCH, len(images)))
            features[rows], probabilities[rows] = self._micro_batch(images[rows])
            report(rows.stop - rows.start)
        return ExtractorOutput(features, probabilities)

    @torch.inference_mode()
    def _micro_batch(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return features and probabilities in full float32: a GPU's default would be TF32 with ten bits."""
        colours = torch.tensor(images, device=self._device).permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
        with torch.backends.cudnn.flags(allow_tf32=False):
            features, logits = self._network(colours)
        return features.cpu().numpy(), logits.softmax(dim=1).cpu().numpy()


def _checked_content(path: Path, sha256: str) -> bytes:
    """Read a whole file; RunError if its digest differs."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise RunError(f"{path} holds {size} bytes, far more than weights of Inception-v3; give another file")
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256.lower():
        raise RunError(
            f"{path} has the sha256 {found}, not {sha256}; if it is nevertheless the file that you mean, and you trust "
            f"it, say --inception-sha256 {found}"
        )
    return content


def _state_of(path: Path, content: bytes) -> Mapping[str, Any]:
    """Read the tensors of a file without executing code in it."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load(content)
        if path.suffix == ".pth":
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            if isinstance(state, dict):
                return state
            raise RunError(f"{path} holds a {type(state).__name__}, no state dict")
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"{path} is damaged or holds more than weights: {reason}") from None
    raise RunError(
        f"{path}: expected a .pth or a .safetensors; of another file's tensors, "
        'safetensors.torch.save_file(torch.load("FILE", weights_only=True), "inception.safetensors") makes one'
    )


def _fitting(state: Mapping[str, Any], expected: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the network's weights in float32; RunError if any is missing, extra or different."""
    names = {name for name in expected.keys() ^ state.keys() if not str(name).endswith(COUNTER)}
    wrong = names or {name for name in expected.keys() & state.keys() if not _alike(state[name], expected[name])}
    if wrong:
        raise RunError(
            f"{path} holds other weights than Inception-v3 of 2015-12-05 has: {len(wrong)} names or shapes differ, "
            f"such as {min(wrong, key=str)!r}"
        )
    zero = torch.zeros((), dtype=torch.int64)
    return {name: zero if name.endswith(COUNTER) else state[name].float() for name in expected}


def _alike(found: object, expected: Tensor) -> bool:
    """Return whether a value is a finite tensor of the right shape."""
    if not isinstance(found, Tensor) or found.shape != expected.shape or found.is_meta:
        return False
    return bool(torch.isfinite(found).all())
