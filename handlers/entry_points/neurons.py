"""TorchServe's handler of autoencoders; see `handlers.entry_points.handler` for what this file may define."""

from handlers.entry_points.handler import Handler
from handlers.operations.detection import Detector


class NeuronsHandler(Handler):
    """Serves one autoencoder."""

    KIND = "neurons"
    OPERATIONS = Detector
