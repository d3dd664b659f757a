"""The family of students: a small convolutional classifier that learns another one's labels."""

from __future__ import annotations

from training.compute import parallel
from training.compute.acceleration import Acceleration
from training.data import LabelledImages, TaughtImages
from training.families.family import Family
from training.families.student_training import StudentTraining
from training.families.training import Training
from training.networks.student import Student
from training.randomness import fresh_weights
from training.recipes import StudentRecipe


class StudentFamily(Family[StudentRecipe]):
    """A classifier whose training images come with a teacher's labels; `training.distillation` asks the teacher."""

    PICTURES = "training images, those first whose label by the teacher the student finds least probable"

    def classifier(self) -> Student:
        """Build the classifier; see `Family`."""
        config, recipe = self.config, self.recipe
        return Student(
            image_shape=config.image_shape,
            widths=recipe.widths,
            classes=max(len(config.classes), 1),
            dropout=recipe.dropout,
        )

    def begin(self, data: LabelledImages) -> Training:
        """Begin the training; see `Family`. Images without a teacher's labels are refused."""
        if not isinstance(data, TaughtImages):
            return super().begin(data)
        parallel.must_be_shared(self.recipe.batch_sizes)
        with fresh_weights(self.recipe.seed):
            network = self.classifier()
        return StudentTraining(
            self.config, self.recipe, network, data, Acceleration.chosen(self.recipe, convolutional=True)
        )

    def card_rows(self, *, test_accuracy: float | None, test_images: int) -> dict[str, str]:
        """Return who taught it, and how well it learned; see `Family`."""
        recipe = self.recipe
        views = "" if recipe.views == 1 else f", the mean of {recipe.views} views of each image"
        kept = "" if recipe.keep == 1 else f"; the most certain {100 * recipe.keep:g} % of each class were used"
        return {
            "Teacher": f"{recipe.teacher}, run digest `{recipe.teacher_digest}`",
            "Labels": f"the teacher's alone{views}{kept}; the data's own, if any, were not used",
            "Classes": ", ".join(self.config.classes),
            "Test accuracy": "not measured: the data came without labelled test images"
            if test_accuracy is None
            else f"{100 * test_accuracy:.2f} % of {test_images} test images, with averaged weights",
        }


FAMILY = StudentFamily
