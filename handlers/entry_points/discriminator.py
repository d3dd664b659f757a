"""TorchServe's handler of discriminators; see `handlers.entry_points.handler` for what this file may define."""

from handlers.entry_points.handler import Handler
from handlers.operations.judging import Judge


class DiscriminatorHandler(Handler):
    """Serves one discriminator, with its generator."""

    KIND = "discriminator"
    OPERATIONS = Judge
