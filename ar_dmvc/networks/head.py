"""The clustering head of deep divergence-based clustering."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class HeadOutput(NamedTuple):
    """``hidden`` (N, H) and soft ``assignments`` (N, K), rows sum to one."""

    hidden: Tensor
    assignments: Tensor


class DDCHead(nn.Module):
    """Linear, ReLU, batch norm to the hidden representation; linear, softmax to the assignments.

    Source: Kampffmeyer et al., "Deep divergence-based approach to clustering", Neural Networks, 2019.

    Args:
        in_features: D, width of the fused representation.
        num_clusters: K.
        hidden_features: H.
    """

    def __init__(self, in_features: int, num_clusters: int, hidden_features: int = 100) -> None:
        super().__init__()
        self.hidden = nn.Linear(in_features, hidden_features)
        self.relu = nn.ReLU()
        self.norm = nn.BatchNorm1d(hidden_features)
        self.output = nn.Linear(hidden_features, num_clusters)

    def forward(self, fused: Tensor) -> HeadOutput:
        """Cluster a fused representation (N, D)."""
        hidden, logits = self.logits(fused)
        return HeadOutput(hidden, logits.softmax(1))

    def logits(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """The hidden representation (N, H) and what the assignments are the softmax of, (N, K)."""
        hidden = self.norm(self.relu(self.hidden(fused)))
        return hidden, self.output(hidden)
