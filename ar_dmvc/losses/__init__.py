"""Losses: pure functions on tensors."""

from ar_dmvc.losses.adversarial_alignment import attention_loss, discriminator_loss, generator_loss
from ar_dmvc.losses.agreement import jensen_shannon_divergence, maximum_mean_discrepancy
from ar_dmvc.losses.contrastive import (
    contrastive_alignment,
    contrastive_terms,
    info_nce,
    robust_info_nce,
    spectral_contrastive,
)
from ar_dmvc.losses.cross_entropy import cross_entropy
from ar_dmvc.losses.ddc import DDCTerms, ddc_terms, mean_off_diagonal_product
from ar_dmvc.losses.kernels import gaussian_kernel, kernel_width, squared_distances
from ar_dmvc.losses.mitigator import assignment_divergence_terms, attack_mitigator
from ar_dmvc.losses.mutual_information import mutual_information_alignment
from ar_dmvc.losses.precision import full_precision, in_full_precision
from ar_dmvc.losses.reconstruction import reconstruction_error
from ar_dmvc.losses.variational import VariationalTerms, normal_divergence, uniform_divergence, variational_terms

__all__ = [
    "DDCTerms",
    "VariationalTerms",
    "assignment_divergence_terms",
    "attack_mitigator",
    "attention_loss",
    "contrastive_alignment",
    "contrastive_terms",
    "cross_entropy",
    "ddc_terms",
    "discriminator_loss",
    "full_precision",
    "gaussian_kernel",
    "generator_loss",
    "in_full_precision",
    "info_nce",
    "jensen_shannon_divergence",
    "kernel_width",
    "maximum_mean_discrepancy",
    "mean_off_diagonal_product",
    "mutual_information_alignment",
    "normal_divergence",
    "reconstruction_error",
    "robust_info_nce",
    "spectral_contrastive",
    "squared_distances",
    "uniform_divergence",
    "variational_terms",
]
