"""One thread for torch: the networks here are too small for two, whose waiting would only burn the other core."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
