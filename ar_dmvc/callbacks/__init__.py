"""What happens beside training: checkpoints, the record of a run, interrupts, progress, stability under attack, predictions."""

from ar_dmvc.callbacks.checkpoint import RunCheckpoint
from ar_dmvc.callbacks.interrupt import InterruptBetweenSteps
from ar_dmvc.callbacks.prediction import PredictionWriter
from ar_dmvc.callbacks.progress import EpochLines
from ar_dmvc.callbacks.record import RunRecord
from ar_dmvc.callbacks.stability import StabilityUnderAttack

__all__ = ["EpochLines", "InterruptBetweenSteps", "PredictionWriter", "RunCheckpoint", "RunRecord", "StabilityUnderAttack"]
