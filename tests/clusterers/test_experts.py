"""ProductOfExperts: what its views say on their own, and together."""

from __future__ import annotations

import pytest
import torch

from ar_dmvc.clusterers import ProductOfExperts

SHAPES = [(1, 8, 8), (5,), (7,)]
MASK = torch.tensor([[True, True, True], [True, False, True], [False, True, False]]).repeat(4, 1)


@pytest.fixture
def experts() -> ProductOfExperts:
    torch.manual_seed(0)
    clusterer = ProductOfExperts(SHAPES, 3)
    clusterer(views())
    return clusterer.eval()


def views() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(12, *shape, generator=generator) for shape in SHAPES]


def test_together_they_say_the_normalised_product_of_what_each_says(experts: ProductOfExperts) -> None:
    output = experts(views())
    assert len(output.experts) == 3
    product = output.experts[0] * output.experts[1] * output.experts[2]
    torch.testing.assert_close(output.assignments, product / product.sum(1, keepdim=True))


def test_one_view_s_expert_decides_alone() -> None:
    output = ProductOfExperts(SHAPES[:1], 3)(views()[:1])
    torch.testing.assert_close(output.assignments, output.experts[0])


def test_an_expert_sees_its_own_view_only(experts: ProductOfExperts) -> None:
    one, batch = experts(views()), views()
    batch[1] = 1 - batch[1]
    other = experts(batch)
    assert torch.equal(one.experts[0], other.experts[0])
    assert torch.equal(one.experts[2], other.experts[2])
    assert not torch.allclose(one.experts[1], other.experts[1])
    assert torch.equal(one.expert(2).assignments, one.experts[2])


def test_the_expert_of_a_missing_view_has_no_say(experts: ProductOfExperts) -> None:
    output = experts(views(), MASK)
    whole = experts(views())
    missing = ~MASK
    for view, said in enumerate(output.experts):
        torch.testing.assert_close(said[MASK[:, view]], whole.experts[view][MASK[:, view]])
        torch.testing.assert_close(said[missing[:, view]], torch.full((int(missing[:, view].sum()), 3), 1 / 3))
    torch.testing.assert_close(output.assignments[2], whole.experts[1][2])
    torch.testing.assert_close(output.fused[2], whole.latents[1][2])


def test_of_some_samples_and_without_gradient_the_experts_come_along(experts: ProductOfExperts) -> None:
    output = experts(views())
    rows = torch.arange(12) % 2 == 0
    assert all(torch.equal(part, said[rows]) for part, said in zip(output.of(rows).experts, output.experts, strict=True))
    assert not any(said.requires_grad for said in output.detached().experts)
