"""TorchServe's handler of generators; see `handlers.entry_points.handler` for what this file may define."""

from handlers.entry_points.handler import Handler
from handlers.operations.sampler import Sampler


class GeneratorHandler(Handler):
    """Serves one generator."""

    KIND = "generator"
    OPERATIONS = Sampler
