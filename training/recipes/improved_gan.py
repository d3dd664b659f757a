"""The K+1 semi-supervised GAN of Salimans et al. 2016 (arXiv:1606.03498), with its five techniques as fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from training.errors import RecipeError
from training.recipes.recipe import About, GanRecipe, Hidden, LatentDistribution


@dataclass(frozen=True, slots=True, kw_only=True)
class ImprovedGanRecipe(GanRecipe):
    """The K+1 GAN; defaults are the authors' code on MNIST."""

    FAMILY: ClassVar[str] = "improved_gan"
    DESCRIPTION: ClassVar[str] = (
        "A K+1 semi-supervised GAN: a generator of images and a classifier of them, trained together."
    )
    LIMITS: ClassVar[tuple[str, ...]] = (
        "One run with one draw of labels. Accuracies vary with the seed, by several percent with few labels.",
        "Feature matching trains a good classifier, not the best pictures: samples look smoother and rougher than the "
        "data.",
        "The classifier assigns one of its classes to every image, even to one unlike all its data, and its "
        "probabilities are not calibrated.",
    )

    network: Literal["mlp", "conv"] = "mlp"

    images: Annotated[int, About("length of the run, in unlabelled real images", 1)] = 18_000_000
    labels: Annotated[
        int, About("labelled images, equally many per class; all others are unlabelled; 0 for none", 0)
    ] = 100
    label_seed: Annotated[
        int, About("seed of the draw of labelled images, which runs may share; -1: the run's", -1, 2**63 - 1)
    ] = -1
    labelled_batch: Annotated[int, About("labelled images per step", 1, 65_536)] = 100
    unlabelled_batch: Annotated[int, About("unlabelled images per step, and as many generated ones", 2, 65_536)] = 100
    initialise_images: Annotated[int, About("images that set the initial scales and biases", 2, 65_536)] = 500

    latent_distribution: Annotated[LatentDistribution, About("distribution of latents")] = "uniform01"
    generator_widths: Hidden = (500, 500)
    discriminator_widths: Hidden = (1000, 500, 250, 250, 250)
    input_noise: Annotated[
        float, About("mlp: std of the noise on pixels in [0, 1]; conv: share of pixels dropped", 0, 100)
    ] = 0.3
    hidden_noise: Annotated[
        float, About("mlp: std of the noise on hidden units; conv: share of channels' values dropped", 0, 100)
    ] = 0.5

    # The five techniques of section 3; the published code for MNIST uses only the first.
    generator_loss: Annotated[
        Literal["feature-matching", "non-saturating", "minimax"],
        About("the generator's loss: the distance of section 3.1, -log D, or log(1 - D) as in the authors' code"),
    ] = "feature-matching"
    match_distance: Annotated[
        Literal["squared", "absolute"], About("how feature matching measures the distance of means")
    ] = "squared"
    minibatch_kernels: Annotated[int, About("B of minibatch discrimination, section 3.2; 0 for none", 0, 4096)] = 0
    minibatch_dimensions: Annotated[int, About("C of minibatch discrimination, section 3.2", 1, 4096)] = 5
    historical_averaging: Annotated[
        float, About("weight of |theta - its mean over the run|^2, section 3.3; 0 for none", 0, 1e6)
    ] = 0.0
    real_target: Annotated[
        float, About("target of D for real images, section 3.4; below 1 is one-sided label smoothing", 0.51, 1)
    ] = 1.0
    generator_norm: Annotated[
        Literal["batch", "virtual"], About("normalisation in the generator; virtual is section 3.6")
    ] = "batch"
    generator_steps: Annotated[int, About("generator steps per discriminator step", 1, 100)] = 1

    # What later papers add to section 5; 0 leaves a term out (docs/training.md).
    entropy: Annotated[
        float, About("weight of the entropy of unlabelled images' classes, Springenberg 2016, Dai et al. 2017", 0, 1e3)
    ] = 0.0
    pull_away: Annotated[
        float, About("weight of the pull-away term of generated images' features, Dai et al. 2017", 0, 1e3)
    ] = 0.0
    virtual_adversarial: Annotated[
        float, About("weight of virtual adversarial training on unlabelled images, Miyato et al. 2017", 0, 1e3)
    ] = 0.0
    adversarial_length: Annotated[
        float, About("length of a virtual adversarial change of an image with pixels in [0, 1]", 1e-3, 1e3)
    ] = 2.0
    manifold: Annotated[
        float, About("weight of the squared slope of logits along the generator's latents, Lecouat et al. 2018", 0, 1e3)
    ] = 0.0

    generator_rate: Annotated[float, About("Adam's learning rate for the generator", 0, 1)] = 0.003
    discriminator_rate: Annotated[float, About("Adam's learning rate for the discriminator", 0, 1)] = 0.003
    beta1: Annotated[float, About("Adam's decay of the first moment", 0, 0.999999)] = 0.5
    beta2: Annotated[float, About("Adam's decay of the second moment", 0, 0.999999)] = 0.999
    # The paper's code divides by sqrt(v + 1e-8). sqrt(v) + 1e-4 is nearer to that than torch's 1e-8, but not equal:
    # where sqrt(v) is 1e-4 to 1e-3, as it mostly is, steps are 14 to 21 % shorter (docs/training.md).
    epsilon: Annotated[float, About("Adam's epsilon, added outside the square root", 0, 1)] = 1e-4

    def __post_init__(self) -> None:
        """Check the fields, and that there are features that generated images can be pulled apart in."""
        GanRecipe.__post_init__(self)
        if self.pull_away and self.generator_loss != "feature-matching":
            raise RecipeError(
                "pull_away compares the features of feature matching: take generator_loss=feature-matching"
            )

    @property
    def batch_images(self) -> int:
        """How many unlabelled images per step advances the run by."""
        return self.unlabelled_batch

    @property
    def batch_sizes(self) -> dict[str, int]:
        """The sizes of a step's batches by field."""
        labelled = {"labelled_batch": self.labelled_batch} if self.classifies else {}
        return {"unlabelled_batch": self.unlabelled_batch, **labelled}

    @property
    def min_images(self) -> int:
        """The least number of training images that a step and the choice of labelled images need."""
        return max(self.unlabelled_batch, self.labels)

    @property
    def gains_from_threads(self) -> bool:
        """Whether the networks are convolutional."""
        return self.network == "conv"

    @property
    def draw(self) -> int:
        """The seed that chooses the labelled images."""
        return self.seed if self.label_seed < 0 else self.label_seed

    @property
    def classifies(self) -> bool:
        """Whether the discriminator learns classes, from labels."""
        return self.labels > 0

    @property
    def needs_labels(self) -> bool:
        """Whether some images must have labels."""
        return self.labels > 0


IMPROVED_GAN_RECIPES = (
    ImprovedGanRecipe(
        name="ssgan-digits",
        source="Salimans et al. 2016, made smaller; digits that ship with the project",
        cost="85 to 110 s of one CPU core, stopped at 110 s",
        expected="about 93 % of 2,000 test digits (measured: 92.6 % and 93.0 % with seeds 1 and 2)",
        data="digits",
        labels=500,
        images=250_000,
        max_seconds=110.0,
        labelled_batch=20,
        unlabelled_batch=50,
        generator_widths=(256, 256),
        discriminator_widths=(400, 250, 250),
        report_images=1_000,
        checkpoint_images=50_000,
    ),
    ImprovedGanRecipe(
        name="ssgan-mnist",
        source="Salimans et al. 2016, section 5.1 (arXiv:1606.03498); 60,000 digits of MNIST",
        cost="2 to 4 h of one CPU core",
        expected="0.93 +- 0.07 % test error over 10 draws of 100 labels (published)",
    ),
    ImprovedGanRecipe(
        name="ssgan-conv32",
        source="Salimans et al. 2016, section 5.2, CIFAR-10 (arXiv:1606.03498); 50,000 photographs of 32x32 pixels",
        cost="1,200 passes over the data, days on a CPU: needs a GPU",
        expected="18.63 +- 2.32 % test error with 4,000 labels (published)",
        network="conv",
        size=(32, 32),
        channels=3,
        images=1200 * 50_000,
        labels=4_000,
        generator_widths=(512, 256, 128),
        discriminator_widths=(96, 192),
        input_noise=0.2,
        hidden_noise=0.5,
        match_distance="absolute",
        generator_rate=3e-4,
        discriminator_rate=3e-4,
        decay_from=2 / 3,
    ),
    ImprovedGanRecipe(
        name="mbgan-mnist",
        source="Salimans et al. 2016, section 3: the K+1 GAN with minibatch discrimination, label smoothing and VBN",
        cost="about half an hour of one CPU core",
        expected="clearer samples than ssgan-mnist (published without a number for MNIST)",
        images=1_000_000,
        generator_loss="non-saturating",
        minibatch_kernels=100,
        minibatch_dimensions=5,
        real_target=0.9,
        generator_norm="virtual",
        report_images=5_000,
        checkpoint_images=50_000,
    ),
)
