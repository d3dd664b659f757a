"""TorchServe's handler of classifiers; see `handlers.entry_points.handler` for what this file may define."""

from handlers.entry_points.handler import Handler
from handlers.operations.classification import Classifier


class ClassifierHandler(Handler):
    """Serves one classifier."""

    KIND = "classifier"
    OPERATIONS = Classifier
