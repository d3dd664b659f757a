"""What a model is, as it describes itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from service.backend.protocol.neurons import Concept, UnitShape


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What a loaded model says about itself; latents belong to a generator, stages and concepts to an autoencoder.

    `numerics` is the version of the handlers' arithmetic; `precision`, resolved for the device, is `float32` or
    `bfloat16`. `features` is the length of the feature vector by which sets of images are compared; 0 if there is none.
    `batch_sizes` are the proven sizes of forward passes; none if an image's bits depend on the others in its pass.
    `run_digest` is that of the run it was packed from; `layers` are its hidden layers, as `mintage.v1.Model` says.
    """

    kind: Kind
    height: int
    width: int
    channels: int
    classes: tuple[str, ...]
    latent_size: int
    micro_batch: int
    device_class: str
    torch_version: str
    numerics: int
    precision: str
    recipe: str
    stages: tuple[UnitShape, ...] = ()
    concepts: tuple[Concept, ...] = ()
    features: int = 0
    batch_sizes: tuple[int, ...] = ()
    run_digest: str = ""
    layers: tuple[UnitShape, ...] = ()


Kind = Literal["generator", "classifier", "neurons", "discriminator"]
