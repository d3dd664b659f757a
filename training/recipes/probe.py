"""The probe of a DCGAN's features, Radford et al. 2015, section 5 (arXiv:1511.06434)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from training.recipes.recipe import About, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRecipe(Recipe):
    """The form of the probed discriminator, and how the probe was fitted."""

    FAMILY: ClassVar[str] = "probe"
    DESCRIPTION: ClassVar[str] = (
        "A probe: a linear classifier of the features of a DCGAN's discriminator, which was trained without labels."
    )
    LIMITS: ClassVar[tuple[str, ...]] = (
        "It assigns one of its classes to every image, whatever the image shows.",
        "p(generated) is the discriminator's judgement of the generator it was trained against, and of no other.",
    )

    images: Annotated[int, About("training images that the classifier was fitted to, validation part included", 1)] = 1
    discriminator_width: Annotated[int, About("channels of the discriminator's first layer", 1, 4096)] = 64
    kernel: Annotated[int, About("side of the convolutions, pixels", 4, 5)] = 5
    layers: Annotated[
        Literal["strided", "paired"], About("one strided convolution per level, or pairs of 3x3 ones")
    ] = "strided"
    discriminator_activation: Annotated[
        Literal["leaky-relu", "prelu"], About("activation in the discriminator; the leak is 0.2")
    ] = "leaky-relu"
    mirror: Annotated[
        Literal["no", "yes"],
        About("whether features are means over an image and its mirror image: where training mirrored images"),
    ] = "no"
    labels_per_class: Annotated[int, About("labelled images per class in one draw; 0 for all", 0)] = 0
    choosing_draws: Annotated[int, About("draws of few labels for choosing cost and scaling", 1, 1000)] = 10
    final_draws: Annotated[int, About("draws of few labels that the accuracy is averaged over", 1, 1000)] = 100
    validation_share: Annotated[
        float, About("share of each class's training images that choices are made on", 0, 0.9)
    ] = 0.1

    @property
    def batch_images(self) -> int:
        """All images: it is fitted at once."""
        return self.images

    @property
    def generates(self) -> bool:
        """False: it has no generator."""
        return False

    @property
    def classifies(self) -> bool:
        """True: it has a test accuracy and can be served."""
        return True


PROBE = ProbeRecipe(
    name="probe",
    source="Radford et al. 2015, section 5 (arXiv:1511.06434); made by `mintage probe RUN --data SOURCE`",
    cost="minutes after the DCGAN whose features it classifies",
    expected="CIFAR-10 with features learnt on ImageNet: 82.8 % (published)",
)
