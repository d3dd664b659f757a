"""An encoder of a generator's images, from which inverting starts (Zhu et al. 2016, arXiv:1609.03552, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from training.recipes.recipe import About, LatentDistribution, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderRecipe(Recipe):
    """The encoder, and the generator whose latents it guesses; what is of the generator, `mintage train` fills in."""

    FAMILY: ClassVar[str] = "encoder"
    DESCRIPTION: ClassVar[str] = (
        "An encoder: a convolutional network that guesses the latent of one generator's image; inverting starts there."
    )
    LIMITS: ClassVar[tuple[str, ...]] = (
        "It knows the images of one generator; of other pictures its guess is only a place to start from.",
    )

    images: Annotated[int, About("length of the run, in images, each drawn once from the generator", 1)] = 300_000
    batch: Annotated[int, About("images per step", 2, 65_536)] = 64
    width: Annotated[int, About("channels of the first layer; they double where the side halves", 1, 1024)] = 32

    generator: Annotated[str, About("the generator's name; `mintage train` sets it")] = ""
    generator_digest: Annotated[str, About("SHA-256 of the generator's run; `mintage train` sets it")] = ""
    latent_size: Annotated[int, About("length of the generator's latents; `mintage train` sets it", 1, 65_536)] = 100
    latent_distribution: Annotated[
        LatentDistribution, About("distribution of the generator's latents; `mintage train` sets it")
    ] = "uniform11"
    conditional: Annotated[
        Literal["no", "yes"], About("whether the generator takes classes; `mintage train` sets it")
    ] = "no"

    rate: Annotated[float, About("Adam's learning rate", 0, 1)] = 1e-3
    beta1: Annotated[float, About("Adam's decay of the first moment", 0, 0.999999)] = 0.9
    beta2: Annotated[float, About("Adam's decay of the second moment", 0, 0.999999)] = 0.999
    epsilon: Annotated[float, About("Adam's epsilon, added outside the square root", 0, 1)] = 1e-8
    decay_from: Annotated[float, About("share of the run after which the learning rate falls linearly to 0", 0, 1)] = (
        0.0
    )
    average_share: Annotated[float, About("half-life of averaged weights, as a share of the images seen", 0, 1)] = 0.02

    @property
    def batch_images(self) -> int:
        """The images of a step."""
        return self.batch

    @property
    def min_images(self) -> int:
        """1: every image is drawn from the generator."""
        return 1

    @property
    def latent(self) -> tuple[int, LatentDistribution]:
        """Z of the latents that it guesses, and their distribution."""
        return self.latent_size, self.latent_distribution

    @property
    def gains_from_threads(self) -> bool:
        """True: convolutions gain from every core."""
        return True

    @property
    def encodes(self) -> bool:
        """True: it guesses latents."""
        return True

    @property
    def is_conditional(self) -> bool:
        """Whether it is told the class of an image, as its generator is."""
        return self.conditional == "yes"


ENCODER = EncoderRecipe(
    name="encoder",
    source="Zhu et al. 2016, section 3.1 (arXiv:1609.03552); made by `mintage train encoder` from the run of a DCGAN",
    cost="8 min of a CPU core with bfloat16 units for a generator of 64 x 64 pixels, width 64",
    expected="faces of 64 x 64: 82 % of the latents' variance (not published)",
    checkpoint_images=100_000,
)
