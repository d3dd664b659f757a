"""A small convolutional student of a classifier, after Hinton et al. 2015 (arXiv:1503.02531)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from training.recipes.recipe import About, Recipe, Widths


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentRecipe(Recipe):
    """The student, how its teacher labels the images, and how they are distorted.

    An image is shifted, rotated and scaled anew each time that it is seen, while its label stays: a student that must
    agree with itself under distortions cannot follow its teacher's errors (noisy student, Xie et al. 2020,
    arXiv:1911.04252). A student may be the teacher of the next one.
    """

    FAMILY: ClassVar[str] = "student"
    DESCRIPTION: ClassVar[str] = (
        "A student: a small convolutional classifier, trained on the labels that another classifier gave to images."
    )
    LIMITS: ClassVar[tuple[str, ...]] = (
        "What its teacher takes for something else in a whole kind of images, it has learnt that way.",
        "It assigns one of its classes to every image, whatever the image shows, and its probabilities are not "
        "calibrated.",
        "It was trained without a generator: p(generated) is 1/2 for every image, and has no meaning.",
    )

    images: Annotated[int, About("length of the run, in images", 1)] = 600_000
    batch: Annotated[int, About("images per step", 2, 65_536)] = 128
    widths: Annotated[Widths, About("channels of the convolutions, layer by layer", 1, 4096)] = (32, 64, 64, 96, 96)
    dropout: Annotated[float, About("share of the last maps' units that are dropped", 0, 0.99)] = 0.3

    teacher: Annotated[str, About("the teacher's name; `mintage distil` sets it")] = ""
    teacher_digest: Annotated[str, About("SHA-256 of the teacher's run; `mintage distil` sets it")] = ""
    temperature: Annotated[
        float,
        About("T of both softmax functions; a higher one shows more of what the teacher hesitates about", 0.1, 100),
    ] = 1.0
    views: Annotated[
        int, About("views of each image that the teacher's label is the mean of; all but the first distorted", 1, 1000)
    ] = 1
    keep: Annotated[
        float, About("share of the images of each label that are trained on, the teacher's most certain ones", 0.01, 1)
    ] = 1.0

    shift: Annotated[float, About("largest shift down and across, pixels", 0, 100)] = 2.0
    rotation: Annotated[float, About("largest rotation either way, degrees", 0, 180)] = 12.0
    scale: Annotated[float, About("largest change of size, as a share", 0, 0.9)] = 0.1

    rate: Annotated[float, About("Adam's learning rate", 0, 1)] = 2e-3
    beta1: Annotated[float, About("Adam's decay of the first moment", 0, 0.999999)] = 0.9
    beta2: Annotated[float, About("Adam's decay of the second moment", 0, 0.999999)] = 0.999
    epsilon: Annotated[float, About("Adam's epsilon, added outside the square root", 0, 1)] = 1e-8
    decay_from: Annotated[float, About("share of the run after which the learning rate falls linearly to 0", 0, 1)] = (
        0.0
    )
    average_share: Annotated[float, About("half-life of averaged weights, as a share of the images seen", 0, 1)] = 0.04

    @property
    def batch_images(self) -> int:
        """The images of a step."""
        return self.batch

    @property
    def gains_from_threads(self) -> bool:
        """True: convolutions gain from every core."""
        return True

    @property
    def classifies(self) -> bool:
        """True: it has a test accuracy and can be served."""
        return True

    @property
    def verb(self) -> tuple[str, ...]:
        """The command's words before its options."""
        return "distil", self.teacher


STUDENT = StudentRecipe(
    name="student",
    source="Hinton et al. 2015 (arXiv:1503.02531); made by `mintage distil TEACHER --data SOURCE`",
    cost="8 min of a busy CPU core with bfloat16 units for ten passes over MNIST",
    expected="MNIST, taught by a classifier with 105 test errors: 60 (not published)",
    checkpoint_images=60_000,
)
