"""What a model can be asked, and what it answers; `messages` has how both are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from handlers.protocol.formulas import Formulas


@dataclass(frozen=True, slots=True)
class Describe:
    """Requests a description of the model."""

    op: ClassVar[str] = "describe"


@dataclass(frozen=True, slots=True)
class Canary:
    """Requests one real forward pass with a finite result."""

    op: ClassVar[str] = "canary"


@dataclass(frozen=True, slots=True)
class Generate:
    """Requests samples first_index to first_index + count - 1 of a seed."""

    seed: int
    first_index: int
    count: int
    op: ClassVar[str] = "generate"


@dataclass(frozen=True, slots=True)
class Draw:
    """Requests images of latents.

    Attributes:
        formulas: The latents.
        class_index: Class of all images; None: that of the first sample in each formula.
        class_sample: Index of the sample whose class all images have, if `class_index` is None.
        drop: Feature maps of hidden layers, from 1, that are set to 0.
        keep: Feature maps of hidden layers, all but which are set to 0.
    """

    formulas: Formulas
    class_index: int | None = None
    class_sample: int | None = None
    drop: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    keep: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    op: ClassVar[str] = "draw"


@dataclass(frozen=True, slots=True)
class Tap:
    """Requests the activations of a hidden layer, from 1, at places int64 [P, 3]: number of a latent, row, column."""

    formulas: Formulas
    layer: int
    places: NDArray[np.int64]
    class_index: int | None = None
    op: ClassVar[str] = "tap"


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Requests the numbers of latents."""

    formulas: Formulas
    op: ClassVar[str] = "evaluate"


@dataclass(frozen=True, slots=True)
class Classify:
    """Requests class probabilities of images uint8 [N, H, W, C], with their features if `features` is set."""

    images: NDArray[np.uint8]
    features: bool = False
    op: ClassVar[str] = "classify"


@dataclass(frozen=True, slots=True)
class Detect:
    """Requests which of the named concepts images uint8 [N, H, W, C] show, with features as in `Classify`."""

    images: NDArray[np.uint8]
    concepts: tuple[str, ...]
    features: bool = False
    op: ClassVar[str] = "detect"


@dataclass(frozen=True, slots=True)
class Activate:
    """Requests the activations of some units of a stage, or all, on images uint8 [N, H, W, C]."""

    images: NDArray[np.uint8]
    stage: int  # from 1
    units: tuple[int, ...]
    op: ClassVar[str] = "activate"


@dataclass(frozen=True, slots=True)
class Reconstruct:
    """Requests an autoencoder's reconstructions of images uint8 [N, H, W, C]."""

    images: NDArray[np.uint8]
    op: ClassVar[str] = "reconstruct"


@dataclass(frozen=True, slots=True)
class Stimulate:
    """Requests the image that activates a unit most (sign 1) or least (-1)."""

    stage: int  # from 1
    unit: int
    sign: int
    seed: int
    steps: int
    op: ClassVar[str] = "stimulate"


@dataclass(frozen=True, slots=True)
class NeuronTarget:
    """A unit of an autoencoder's stage, from 1; the sign says which end of its activations is explained."""

    stage: int
    unit: int
    sign: int = 1


@dataclass(frozen=True, slots=True)
class MapTarget:
    """A feature map of a hidden layer, from 1."""

    layer: int
    map: int


@dataclass(frozen=True, slots=True)
class Explain:
    """Requests the guided gradients of a unit on images uint8 [N, H, W, C].

    The target is a class, a unit or a map; None is "real" of a discriminator, the most probable class of a classifier.
    With `random` a network of the same form with random weights answers.
    """

    images: NDArray[np.uint8]
    target: int | NeuronTarget | MapTarget | None = None
    random: bool = False
    op: ClassVar[str] = "explain"


@dataclass(frozen=True, slots=True)
class Peaks:
    """Requests where images uint8 [N, H, W, C] excite each map of a hidden layer, from 1, most."""

    images: NDArray[np.uint8]
    layer: int
    op: ClassVar[str] = "peaks"


@dataclass(frozen=True, slots=True)
class WeightDirections:
    """Requests the directions that change the outputs of a generator's first layer most."""

    count: int
    op: ClassVar[str] = "weight_directions"


@dataclass(frozen=True, slots=True)
class Invert:
    """Requests starts of a search for the latent of an image uint8 [1, H, W, C], or some steps of it.

    Attributes:
        images: The image.
        starts: How many.
        class_index: Class of conditional networks, else 0.
        pixels_only: Whether pixels alone are compared, and not the discriminator's hidden units.
        seed: Of the samples that starts are chosen from.
        first_start: Number of the first start, from 0.
        state: float32 [3, starts, Z], where the starts are, as the last answer said; None requests the starts.
        step: Steps that they have taken.
        count: Steps to take.
        steps: Steps in all.
    """

    images: NDArray[np.uint8]
    starts: int
    class_index: int
    pixels_only: bool
    seed: int = 0
    first_start: int = 0
    state: NDArray[np.float32] | None = None
    step: int = 0
    count: int = 0
    steps: int = 0
    op: ClassVar[str] = "invert"


ABOUT_IMAGES = Classify | Detect | Activate | Reconstruct | Explain | Peaks | Invert
Request = Describe | Canary | Generate | Draw | Tap | Evaluate | Stimulate | WeightDirections | ABOUT_IMAGES


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a successful request: facts for the header, and tensors."""

    facts: Mapping[str, object] = field(default_factory=dict)
    tensors: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """The result of a failed request; the message reveals no internals."""

    status: Literal["invalid", "error", "refused"]
    message: str
