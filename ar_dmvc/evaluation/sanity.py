"""Signs that an evaluation overestimates robustness.

Source: Carlini et al., "On evaluating adversarial robustness", 2019; the flags of AutoAttack (Croce and Hein, ICML 2020).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from ar_dmvc.attacks import APGD, Attack, Target, Views
from ar_dmvc.attacks.gradient import GradientAttack
from ar_dmvc.attacks.target import Signs
from ar_dmvc.evaluation.record import AttackRecord, Scores

CLEAN, WORST = "clean", "worst"

_NOTICEABLE = 0.02
_POOR = 0.2
_MANY = 0.1
_MOST = 0.5
_FAR = 0.5
_SAME = 1e-4
_PROBED = 100


class Probes(NamedTuple):
    """What a look at the clusterer itself gave.

    Attributes:
        looked_at: number of samples.
        random: of these, how many have another output when asked again.
        kept_far: of these, how many keep their cluster at a budget of half the box, where any view can become any grey.
    """

    looked_at: int = 0
    random: int = 0
    kept_far: int = 0


def probe(target: Target, views: Views) -> Probes:
    """Look at a clusterer on some samples: two passes, and an ascent of 20 steps in a budget of half the box.

    Args:
        target: the clusterer on a batch, whose clean output is known.
        views: V clean views (N, *shape_v) of it.
    """
    samples = torch.arange(min(_PROBED, len(views[0])), device=views[0].device)
    if target.clusterer.training:  # where a sample depends on the rest of its batch
        samples = torch.arange(len(views[0]), device=views[0].device)
    part = target.part(samples)
    chosen = tuple(view[samples] for view in views)
    clean = part.clean(chosen).assignments
    with torch.no_grad():
        again = part(chosen).assignments
    random = ((again - clean).abs() > _SAME).any(1)
    attacked = APGD("margin", _FAR, steps=20).against(part, chosen)
    with torch.no_grad():
        kept = part(attacked).assignments.argmax(1) == clean.argmax(1)
    return Probes(len(samples), int(random.sum()), int(kept.sum()))


class SanityMetric(Metric):
    """Adds up over batches and processes how ascents went, what probes gave, and what attacks cost.

    Args:
        attacks: their names.
        kwargs: of :class:`torchmetrics.Metric`.
    """

    full_state_update = False
    ascents: Tensor
    probes: Tensor
    passes: Tensor
    seconds: Tensor

    def __init__(self, attacks: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.attacks = tuple(attacks)
        integers = {"ascents": (len(attacks), len(Signs._fields)), "probes": (len(Probes._fields),), "passes": (len(attacks),)}
        for name, shape in integers.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("seconds", torch.zeros(len(attacks)), dist_reduce_fx="sum")

    def update(
        self,
        signs: Sequence[Signs] | Tensor,
        probes: Probes | Tensor,
        passes: Sequence[int] | Tensor,
        seconds: Sequence[float] | Tensor,
    ) -> None:
        """Add a batch: of each attack how its ascents went, its passes and its seconds; and what probes gave.

        Or what :meth:`compute` gave of several.

        Raises:
            ValueError: they are of other shapes.
        """
        given = {"ascents": signs, "probes": probes, "passes": passes, "seconds": seconds}
        for name, values in given.items():
            total = getattr(self, name)
            added = torch.as_tensor(values, device=total.device)
            if self.attacks and added.shape != total.shape:
                raise ValueError(f"{name} of shape {tuple(total.shape)} are expected, got {tuple(added.shape)}")
            setattr(self, name, total + added.reshape(total.shape))

    def compute(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The sums over everything that all processes have added."""
        return self.ascents, self.probes, self.passes, self.seconds

    def totals(self) -> tuple[dict[str, Signs], Probes, list[int], list[float]]:
        """The same by name, on the CPU, passes and seconds of each attack in order; all processes have to call it."""
        ascents, probes, passes, seconds = (part.cpu() for part in self.compute())
        rows = ascents.view(len(self.attacks), len(Signs._fields)).tolist()
        signs = {name: Signs(*row) for name, row in zip(self.attacks, rows, strict=True)}
        return signs, Probes(*probes.tolist()), passes.view(-1).tolist(), seconds.view(-1).tolist()


def notes_on(
    scores: Mapping[str, Scores],
    attacks: Mapping[str, Attack],
    signs: Mapping[str, Signs] | None = None,
    probes: Probes | None = None,
    record: AttackRecord | None = None,
    members: Mapping[str, Mapping[str, Attack]] | None = None,
) -> list[str]:
    """Why an evaluation may overestimate robustness; empty where nothing stands out.

    Args:
        scores: of the clean clustering and of each attack.
        attacks: by name.
        signs: of each gradient attack's ascents.
        probes: what a look at the clusterer itself gave.
        record: what became of each sample.
        members: what attacks are made of, by attack and name.
    """
    notes = [
        *_of_probes(Probes() if probes is None else probes),
        *_of_ascents({} if signs is None else signs),
        *_of_black_boxes(scores, attacks),
        *_of_larger_ones(scores, attacks),
        *([] if record is None else _of_members(record, {} if members is None else members)),
        *_of_the_suite(scores, attacks),
        *([] if record is None else _of_clusters(record)),
    ]
    return list(dict.fromkeys(notes))


def _of_probes(probes: Probes) -> Iterator[str]:
    count = max(1, probes.looked_at)
    if probes.random / count > _MANY:
        yield (
            f"outputs are random: {probes.random / count:.0%} of samples have another one when asked again; only attacks "
            "that average over several passes (expectation over transformations) count."
        )
    if probes.kept_far / count > _MOST:
        yield (
            f"{probes.kept_far / count:.0%} of samples keep their cluster at a budget of {_FAR:g}, where any view can "
            "become grey: attacks cannot find what is there to find, gradients are likely masked."
        )


def _of_ascents(signs: Mapping[str, Signs]) -> Iterator[str]:
    for name, sign in signs.items():
        count = max(1, sign.samples)
        if sign.zero / count > _MANY:
            yield f"{name}: {sign.zero / count:.0%} of its ascents start without any gradient: gradients are masked, or vanish."
        elif sign.flat / count > _MANY:
            yield f"{name}: {sign.flat / count:.0%} of its ascents come no higher than their start: gradients mislead."
        if sign.rising / count > _MOST:
            yield f"{name}: {sign.rising / count:.0%} of its ascents still rise in their last steps: take more."
        if sign.cut:
            yield f"{name} left the budget on {sign.cut} samples: what it made of them was cut back, and may be weaker for it."


def _of_black_boxes(scores: Mapping[str, Scores], attacks: Mapping[str, Attack]) -> Iterator[str]:
    gradient = {name: attack for name, attack in attacks.items() if attack.needs == "gradients"}
    measure = "nmi" if "nmi" in scores[CLEAN] else "kept"
    for noise_name, noise in attacks.items():
        if noise.needs != "nothing":
            continue
        for name, attack in gradient.items():
            weaker = scores[name][measure] > scores[noise_name][measure] + _NOTICEABLE
            if weaker and _reach(attack) == _reach(noise) and attack.budget >= noise.budget:
                yield (
                    f"{name} did less harm than {noise_name} of no larger budget: it does not reach its objective's worst, "
                    "or gradients are masked; do not count on it."
                )
    for name, attack in attacks.items():
        rivals = [
            scores[other]["kept"]
            for other, rival in gradient.items()
            if _reach(rival) == _reach(attack) and rival.budget >= attack.budget
        ]
        black = attack.needs in ("decisions", "scores", "surrogate")
        if black and rivals and scores[name]["kept"] < min(rivals) - _NOTICEABLE:
            yield f"{name}, which sees no gradient, moved more samples than any gradient attack: gradients are masked."


def _of_larger_ones(scores: Mapping[str, Scores], attacks: Mapping[str, Attack]) -> Iterator[str]:
    for name, attack in attacks.items():
        for other, larger in attacks.items():
            if _is_larger(larger, attack) and scores[other]["kept"] > scores[name]["kept"] + _NOTICEABLE:
                yield f"{other}, {name} with more steps or a larger budget, did less harm: it is not at its worst."


def _reach(attack: Attack) -> tuple[object, ...]:
    """What it may change, but for its budget; only attacks of one reach can be compared."""
    return attack.norm, attack.views, attack.joint, attack.share


def _is_larger(one: Attack, other: Attack) -> bool:
    """Whether an attack is another with more steps or a larger budget."""
    if type(one) is not type(other) or _reach(one) != _reach(other):
        return False
    steps = [1, 1]
    if isinstance(one, GradientAttack) and isinstance(other, GradientAttack):
        if one.objective is not other.objective:
            return False
        steps = [attack.steps * attack.restarts for attack in (one, other)]
    sizes, more = (one.budget >= other.budget and steps[0] >= steps[1]), (one.budget, steps[0]) != (other.budget, steps[1])
    return sizes and more


def _of_members(record: AttackRecord, members: Mapping[str, Mapping[str, Attack]]) -> Iterator[str]:
    for name, parts in members.items():
        taken = record.taken(name)
        ascents = [place for place, attack in enumerate(parts.values()) if attack.needs == "gradients"]
        for member in list(parts)[min(ascents, default=len(parts)) :]:
            share = taken.get(member, 0.0)
            if parts[member].needs in ("decisions", "scores") and share > _NOTICEABLE:
                yield (
                    f"{name}: {member}, which sees no gradient, moved {share:.0%} of samples after the attacks before it had "
                    "failed: gradients may be masked."
                )


def _of_the_suite(scores: Mapping[str, Scores], attacks: Mapping[str, Attack]) -> Iterator[str]:
    gradient = [attack for attack in attacks.values() if attack.needs == "gradients"]
    if attacks and not any(attack.compares for attack in gradient):
        yield (
            "no gradient attack on the assignments or on the representations is in the suite: a clusterer that holds here "
            "may fall to one (add assignment_divergence and attack_distance)."
        )
    budgets = sorted({attack.budget for attack in attacks.values()})
    if len(budgets) > 1:
        yield f"the attacks have different budgets, {', '.join(f'{budget:g}' for budget in budgets)}."
    clean = scores[CLEAN]
    if "nmi" not in clean:
        return
    if clean["nmi"] < _POOR:
        yield f"the clean clustering is poor (NMI {clean['nmi']:.2f}): that it holds under attack means nothing."
    if any(clean["acc"] < scores[name]["acc"] - _NOTICEABLE for name in attacks):
        yield "an attack scored above clean, as clusters are matched with classes anew: fixed ACC and kept say what it moved."


def _of_clusters(record: AttackRecord) -> Iterator[str]:
    if record.label is None:
        yield "the data has no labels: how many samples hold is known, and not whether their clusters are any good."
        if bool((record.clean == record.clean[0]).all()):
            yield "all samples are in one cluster: that it holds under attack means nothing."
