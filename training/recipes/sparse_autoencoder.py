"""The deep sparse autoencoder of Le et al. 2012 (arXiv:1112.6209), whose neurons may learn concepts without labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from training.errors import RecipeError
from training.recipes.recipe import About, Recipe, Weights, Widths

PER_STAGE = ("maps", "receptive_fields", "strides", "pools", "pool_strides", "sparsity")


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseAutoencoderRecipe(Recipe):
    """Stages of local filters, L2 pooling and contrast normalisation; fields per stage have comma-separated numbers."""

    FAMILY: ClassVar[str] = "sparse_autoencoder"
    DESCRIPTION: ClassVar[str] = (
        "A deep sparse autoencoder: local filters, pools and contrast normalisation, trained on images without labels."
    )
    LIMITS: ClassVar[tuple[str, ...]] = (
        "It learned what is frequent and alike in its images, without being told what to look for.",
        "A concept neuron was chosen and measured on the labelled images named in the table; on others it may fail.",
        "It expects its concept in the middle of the image, at the size of its training images.",
    )

    batch: Annotated[int, About("images per step", 1, 65_536)] = 128

    shift: Annotated[float, About("largest shift of an image down and across, at random, pixels", 0, 100)] = 0.0
    scale: Annotated[float, About("largest change of its size, at random, as a share", 0, 0.9)] = 0.0
    grey: Annotated[float, About("share of images that are turned grey, at random", 0, 1)] = 0.0

    maps: Annotated[Widths, About("filters at each position", 1, 65_536)] = (8, 8, 8)
    receptive_fields: Annotated[
        Widths,
        About("side of a receptive field, in positions of the stage's input; cut to inputs lower or narrower", 1, 1024),
    ]
    strides: Annotated[Widths, About("positions between receptive fields", 1, 1024)]
    pools: Annotated[Widths, About("side of a pool, in positions of filters", 1, 1024)]
    pool_strides: Annotated[Widths, About("positions between pools", 1, 1024)] = (1, 1, 1)

    sparsity: Annotated[Weights, About("lambda, weight of the pools' activations in the loss", 0, 1e6)] = (
        0.1,
        0.1,
        0.1,
    )
    pool_epsilon: Annotated[float, About("added to a pool's sum of squares, under the root", 1e-12, 1)] = 1e-4
    contrast_window: Annotated[
        int, About("side of contrast normalisation's window between stages, in positions of pools; 0 for none", 0, 1024)
    ] = 5
    contrast_floor: Annotated[float, About("contrast below which it is not amplified", 1e-6, 1e3)] = 0.01
    input_window: Annotated[
        int, About("side of contrast normalisation's window on the images, in pixels; 0 for none", 0, 1024)
    ] = 0
    input_floor: Annotated[float, About("contrast of images in [0, 1] below which it is not amplified", 1e-6, 1)] = 0.05
    units: Annotated[
        Literal["pools", "tanh"],
        About("pools of filters, or averages of tanh filters as in a plain autoencoder"),
    ] = "pools"
    schedule: Annotated[
        Literal["jointly", "apart", "greedily"],
        About(
            "stages lower the sum of their losses; each its own loss, all at each step; or each its own, one after "
            "the other, for equal parts of the run"
        ),
    ] = "jointly"

    rate: Annotated[float, About("Adam's learning rate", 0, 1)] = 1e-3
    beta1: Annotated[float, About("Adam's decay of the first moment", 0, 0.999999)] = 0.9
    beta2: Annotated[float, About("Adam's decay of the second moment", 0, 0.999999)] = 0.999
    epsilon: Annotated[float, About("Adam's epsilon, added outside the square root", 0, 1)] = 1e-8
    sharding: Annotated[
        Literal["no", "yes"],
        About("whether the processes of a torchrun job also share the weights, not only the batch"),
    ] = "no"

    def __post_init__(self) -> None:
        """Check the fields, and that each stage has its numbers."""
        Recipe.__post_init__(self)
        counts = {name: len(getattr(self, name)) for name in PER_STAGE}
        if len(set(counts.values())) > 1:
            shown = ", ".join(f"{name} has {count}" for name, count in counts.items())
            raise RecipeError(f"give {', '.join(PER_STAGE)} one number for each stage: {shown}")
        if self.precision == "bfloat16" or self.compile == "yes":
            raise RecipeError(
                "an autoencoder is computed in float32 and not compiled: leave precision and compile unset"
            )

    def rate_share(self, images_seen: int) -> float:
        """Return the factor of the learning rate, in [0, 1]; greedily, it falls within each stage's part of the run."""
        stages = len(self.maps) if self.schedule == "greedily" else 1
        return Recipe.rate_share(self, images_seen * stages % self.images)

    def schedule_by_length(self) -> str | None:
        """Say what in the schedule depends on the length of the run; see `Recipe`."""
        if self.schedule == "greedily":
            return "with schedule=greedily each stage has a share of the run"
        return Recipe.schedule_by_length(self)

    @property
    def batch_images(self) -> int:
        """The number of images that a step advances the run by."""
        return self.batch

    @property
    def detects(self) -> bool:
        """True: it trains an autoencoder."""
        return True


SPARSE_AUTOENCODER_RECIPES = (
    SparseAutoencoderRecipe(
        name="face-neuron",
        source="Le et al. 2012 (arXiv:1112.6209), made smaller; any images without labels, brought to 32x32 pixels",
        cost="2 min of one CPU core",
        expected="a face neuron that is right for 97 % of images, where one in twelve shows a face (docs/results.md)",
        size=(32, 32),
        channels=3,
        images=110_000,
        # Two stages: 32 pixels are too few for three, since the second stage's filters see the whole image.
        maps=(16, 32),
        receptive_fields=(8, 12),
        strides=(2, 1),
        pools=(2, 1),
        pool_strides=(1, 1),
        sparsity=(1.0, 10.0),
        pool_epsilon=1e-2,
        input_window=9,
        schedule="apart",
        decay_from=0.5,
        report_images=5_000,
        checkpoint_images=20_000,
    ),
    SparseAutoencoderRecipe(
        name="face-neuron-xl",
        source="Le et al. 2012 (arXiv:1112.6209), section 3: fields of 18x18 pixels and 8 maps on images of 200x200",
        cost="the paper: 16,000 cores for three days; `--dry-run` says what it takes here",
        expected="a face neuron that is right for 81.7 % of 37,000 images (published)",
        size=(200, 200),
        channels=3,
        images=100_000_000,
        batch=100,
        receptive_fields=(18, 18, 18),
        strides=(1, 1, 1),
        pools=(5, 5, 5),
        report_images=1_000,
        checkpoint_images=100_000,
    ),
)
