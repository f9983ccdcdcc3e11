"""A trained clusterer under a suite of attacks: numbers, tables, figures."""

from ar_dmvc.evaluation.card import model_card
from ar_dmvc.evaluation.certified import CertifiedReport, SmoothingEvaluator, certified_figure
from ar_dmvc.evaluation.curve import CurveEvaluator, CurveReport, curve_figure
from ar_dmvc.evaluation.figures import attack_figure, projection_figure
from ar_dmvc.evaluation.number_of_clusters import Suggestion, suggest_n_clusters
from ar_dmvc.evaluation.record import AttackRecord
from ar_dmvc.evaluation.robustness import RobustnessEvaluator, RobustnessReport
from ar_dmvc.evaluation.tables import (
    comparison_rows,
    markdown,
    print_certified,
    print_comparison,
    print_curve,
    print_report,
)

__all__ = [
    "AttackRecord",
    "CertifiedReport",
    "CurveEvaluator",
    "CurveReport",
    "RobustnessEvaluator",
    "RobustnessReport",
    "SmoothingEvaluator",
    "Suggestion",
    "attack_figure",
    "certified_figure",
    "comparison_rows",
    "curve_figure",
    "markdown",
    "model_card",
    "print_certified",
    "print_comparison",
    "print_curve",
    "print_report",
    "projection_figure",
    "suggest_n_clusters",
]
