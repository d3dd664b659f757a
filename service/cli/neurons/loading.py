"""The images that the verbs about neurons load, as a run's input."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import typer

from service.cli.data_options import load_split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.progress import Progress

    from training.data import LabelledImages, Options, Split
    from training.neurons.examples import Examples


def source_option(what: str) -> Any:
    """An option that names a source of images."""
    return typer.Option(metavar="SOURCE", help=what, show_default=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Loading:
    """Loads images as a run's input, the test split if there is one."""

    options: Options
    progress: Progress
    accounts: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # of every source, for JSON

    def loaded(self, source: str) -> tuple[LabelledImages, Any]:
        """Return the images of a source, and their split."""
        from training.data import has_split

        split = "test" if has_split(source, "test") else "train"
        return self._load(source, split), split  # type: ignore[arg-type]

    def trained_on(self, sources: list[str]) -> NDArray[np.uint8]:
        """Return the images of the train splits of sources."""
        import numpy as np

        splits = [self._load(each, "train") for each in sources]
        return np.concatenate([split.images for split in splits])

    def _load(self, source: str, split: Split) -> LabelledImages:
        from training.data.account import account

        images = load_split(source, split, self.options, progress=self.progress)
        self.accounts.append(account(images))
        return images

    def of_two(self, positives: str, distractors: str) -> tuple[Examples, str]:
        """Return the images of two sources, and their description."""
        from training.neurons.examples import Examples
        from training.neurons.identities import identities

        (shown, shown_split), (others, others_split) = self.loaded(positives), self.loaded(distractors)
        names = identities(positives, shown_split, shown), identities(distractors, others_split, others)
        said = f"Positives: {positives} ({shown_split}); distractors: {distractors} ({others_split})."
        return Examples.of(shown.images, others.images, identities=names), said

    def of_class(self, source: str, name: str) -> tuple[Examples, str]:
        """Return the images of a class and of all others, and their description."""
        from training.neurons.examples import of_class

        images, split = self.loaded(source)
        return of_class(images, name), f"Class {name} of {source} ({split}) against its other classes."
