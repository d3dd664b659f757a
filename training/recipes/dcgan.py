"""The deep convolutional GAN of Radford et al. 2015 (arXiv:1511.06434)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from training.errors import RecipeError
from training.recipes.adversarial import AdversarialRecipe
from training.recipes.recipe import About, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class DcganRecipe(AdversarialRecipe):
    """The DCGAN; defaults are the paper's, with the width that is in common use."""

    FAMILY: ClassVar[str] = "dcgan"
    DESCRIPTION: ClassVar[str] = (
        "A DCGAN: a convolutional generator of images, trained against a discriminator of real ones."
    )
    LIMITS: ClassVar[tuple[str, ...]] = (
        "Samples repeat themes: a GAN may not cover all of its training data.",
        "It generates images like its training data, at their size, and nothing else.",
    )

    images: Annotated[int, About("length of the run, in real images", 1)] = 1_250_000
    batch: Annotated[int, About("real images per step, and as many generated ones", 2, 65_536)] = 128
    generator_width: Annotated[
        int, About("channels of the generator's last hidden layer; doubled from layer to layer", 1, 4096)
    ] = 64
    discriminator_width: Annotated[
        int, About("channels of the discriminator's first layer; doubled from layer to layer", 1, 4096)
    ] = 64
    kernel: Annotated[int, About("side of the convolutions, pixels; 5 in the paper's code", 4, 5)] = 5
    layers: Annotated[
        Literal["strided", "paired"],
        About(
            "discriminator: one strided convolution per level, or pairs of 3x3 ones as in the paper's feature network"
        ),
    ] = "strided"
    generator_activation: Annotated[Literal["relu", "prelu"], About("activation in the generator")] = "relu"
    discriminator_activation: Annotated[
        Literal["leaky-relu", "prelu"], About("activation in the discriminator; the leak is 0.2")
    ] = "leaky-relu"
    conditional: Annotated[Literal["no", "yes"], About("whether both networks are conditioned on the class")] = "no"

    augment: Annotated[
        Literal["no", "translation", "translation,cutout", "colour,translation,cutout"],
        About("changes of the images that the discriminator sees, real and generated, against learning them by heart"),
    ] = "no"

    gradient_penalty: Annotated[
        float,
        About("gamma of R1, the weight of D's squared slope at real images, in every 16th step; 0 for none", 0, 1e6),
    ] = 0.0

    generator_rate: Annotated[float, About("Adam's learning rate for the generator", 0, 1)] = 2e-4
    discriminator_rate: Annotated[float, About("Adam's learning rate for the discriminator", 0, 1)] = 2e-4
    beta1: Annotated[float, About("Adam's decay of the first moment", 0, 0.999999)] = 0.5
    beta2: Annotated[float, About("Adam's decay of the second moment", 0, 0.999999)] = 0.999
    epsilon: Annotated[float, About("Adam's epsilon, added outside the square root", 0, 1)] = 1e-8
    weight_decay: Annotated[float, About("weight of the L2 penalty of both networks", 0, 1)] = 1e-5

    def __post_init__(self) -> None:
        """Check the fields, and that they fit each other."""
        Recipe.__post_init__(self)
        if self.gradient_penalty and self.compile == "yes":
            raise RecipeError("a compiled network has no slope of its slope: take gradient_penalty=0 or compile=no")

    @property
    def gains_from_threads(self) -> bool:
        """True: convolutions gain from every core."""
        return True

    @property
    def needs_labels(self) -> bool:
        """Whether the images must have labels."""
        return self.is_conditional

    @property
    def is_conditional(self) -> bool:
        """Whether both networks are conditioned on the class."""
        return self.conditional == "yes"


DCGAN_RECIPES = (
    DcganRecipe(
        name="dcgan-digits",
        source="Radford et al. 2015, the conditional pair made smaller; digits that ship with the project",
        cost="about 70 s of one CPU core with bfloat16 units, stopped at 110 s",
        expected="legible digits, a class at a time (not published)",
        data="digits",
        size=(28, 28),
        images=90_000,
        max_seconds=110.0,
        batch=32,
        generator_width=32,
        discriminator_width=32,
        kernel=4,
        conditional="yes",
        generator_rate=4e-4,
        discriminator_rate=4e-4,
        decay_from=0.6,
        average_share=0.02,
        checkpoint_images=30_000,
    ),
    DcganRecipe(
        name="dcgan-mnist",
        source="Radford et al. 2015 (arXiv:1511.06434), the conditional pair of the authors' code for MNIST, narrower",
        cost="about half an hour of one CPU core with bfloat16 units",
        expected="legible digits, a class at a time (published without a number)",
        size=(28, 28),
        images=800_000,
        batch=64,
        generator_width=32,
        discriminator_width=32,
        kernel=4,
        conditional="yes",
        decay_from=0.6,
        average_share=0.02,
        checkpoint_images=100_000,
    ),
    DcganRecipe(
        name="dcgan32",
        source="Radford et al. 2015 (arXiv:1511.06434); any images, brought to 32x32 pixels",
        cost="about 3 h of one CPU core for 25 passes over 50,000 photographs",
        expected="features for the probe of section 5.1; published with a net trained on other images: 82.8 %",
        size=(32, 32),
    ),
    DcganRecipe(
        name="dcgan64",
        source="Radford et al. 2015, section 4 (arXiv:1511.06434); any images, brought to 64x64 pixels",
        cost="hours on a CPU, minutes on a GPU",
        expected="samples to look at (published without a number)",
        size=(64, 64),
    ),
)
