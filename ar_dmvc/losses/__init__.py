"""Losses: pure functions on tensors."""

from ar_dmvc.losses.contrastive import contrastive_alignment, contrastive_terms
from ar_dmvc.losses.ddc import DDCTerms, ddc_terms, mean_off_diagonal_product
from ar_dmvc.losses.kernels import gaussian_kernel, kernel_width, squared_distances
from ar_dmvc.losses.mitigator import assignment_divergence_terms, attack_mitigator
from ar_dmvc.losses.mutual_information import mutual_information_alignment

__all__ = [
    "DDCTerms",
    "assignment_divergence_terms",
    "attack_mitigator",
    "contrastive_alignment",
    "contrastive_terms",
    "ddc_terms",
    "gaussian_kernel",
    "kernel_width",
    "mean_off_diagonal_product",
    "mutual_information_alignment",
    "squared_distances",
]
