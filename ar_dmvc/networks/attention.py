"""View weights by attention.

Source: Zhou and Shen, "End-to-end adversarial-attention network for multi-modal clustering" (EAMC), CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ar_dmvc.distributed import mean_rows

_HIDDEN = (100, 50)
_TEMPERATURE = 10
_MOMENTUM = 0.1


class ViewAttention(nn.Module):
    """Weights of V views, from all of their latents: the mean over the batch in training.

    In evaluation they are those of training, as a running mean: a sample's cluster does not depend on its batch. Like batch
    norm's, this running mean is left alone while ``track_running_stats`` is off.

    Args:
        in_features: sum of the latents' widths.
        num_views: V.
    """

    running_weights: Tensor

    def __init__(self, in_features: int, num_views: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_features, _HIDDEN[0]), nn.Linear(*_HIDDEN), nn.Linear(_HIDDEN[1], num_views), nn.Sigmoid()
        )
        self.track_running_stats = True
        self.register_buffer("running_weights", torch.full((num_views,), 1 / num_views))

    def forward(self, latents: Sequence[Tensor]) -> Tensor:
        """Weights (V,), positive, sum one, of V latents (N, D_v)."""
        if not self.training:
            return self.running_weights
        shares = (self.layers(torch.cat(tuple(latents), 1)) / _TEMPERATURE).softmax(1)
        if self.track_running_stats:
            mean = mean_rows(shares.detach(), always=True)
            self.running_weights.lerp_(mean.to(self.running_weights.dtype), _MOMENTUM)
        return mean_rows(shares)
