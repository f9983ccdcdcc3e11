"""Levels: closed forms, layout, and what no attack can move."""

from __future__ import annotations

import pytest
import torch

from ar_dmvc.clusterers import ProductOfExperts, SiMVC
from ar_dmvc.networks import Levels, build_encoder


def test_the_clamp_of_a_single_level_begins_as_the_identity() -> None:
    view = torch.rand(4, 2, 5, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Levels(1)(view), 1.1 * view)
    torch.testing.assert_close(Levels(1)(view.flatten(1)), 1.1 * view.flatten(1))


def test_a_level_rises_over_its_width_around_its_centre() -> None:
    levels = Levels(2)
    torch.testing.assert_close(levels.centres, torch.tensor([0.3, 0.7]))
    torch.testing.assert_close(levels.widths, torch.tensor([0.5, 0.5]))
    view = torch.tensor([[0.0, 0.3, 0.425, 1.0]])
    found = levels(view) - 0.1 * view.repeat_interleave(2, 1)
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.0, 0.5, 0.0, 0.75, 0.0, 1.0, 1.0]]), atol=1e-6, rtol=0)


def test_of_images_the_levels_of_a_channel_lie_together_channels_last() -> None:
    levels = Levels(3)
    view = torch.rand(2, 2, 4, 5, generator=torch.Generator().manual_seed(0))
    found = levels(view)
    assert found.shape == (2, 6, 4, 5)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found[:, 3:], levels(view[:, 1:]))
    torch.testing.assert_close(found.movedim(1, -1).flatten(1), levels(view.movedim(1, -1).flatten(1)))


def test_where_a_clamp_is_flat_a_tenth_of_what_moves_is_left_and_gradients_are_true() -> None:
    levels = Levels(1).double()
    with torch.no_grad():
        levels.log_widths.fill_(torch.tensor(0.2).log().item() / 5)
    flat = torch.linspace(0, 0.39, 7, dtype=torch.float64)[None]
    torch.testing.assert_close(levels(flat + 0.005) - levels(flat), torch.full_like(flat, 0.0005))
    rising = torch.linspace(0.41, 0.59, 7, dtype=torch.float64)[None]
    assert torch.autograd.gradcheck(levels, (torch.cat([flat, rising]).requires_grad_(),))


def test_what_is_learned_are_centres_and_widths() -> None:
    torch.manual_seed(0)
    encoder = build_encoder((1, 8, 8), levels=3)
    assert encoder.conv1.in_channels == 3
    encoder(torch.rand(6, 1, 8, 8)).square().sum().backward()
    assert isinstance(encoder.levels, Levels)
    for values in encoder.levels.parameters():
        assert values.grad is not None
        assert values.grad.abs().min() > 0


def test_an_encoder_folds_its_norms_behind_levels() -> None:
    torch.manual_seed(0)
    encoder, view = build_encoder((5,), levels=2), torch.rand(8, 5)
    encoder(view)
    plain = view
    for layer in encoder.eval():
        plain = layer(plain)
    torch.testing.assert_close(encoder(view), plain)


def test_without_levels_a_clusterer_is_what_it_was() -> None:
    assert not any("levels" in name for name in SiMVC([(1, 8, 8), (5,)], 3).state_dict())
    for kind in (SiMVC, ProductOfExperts):
        clusterer = kind([(1, 8, 8), (5,)], 3, levels=4)
        assert sum("levels.shifts" in name for name in clusterer.state_dict()) == 2
        views = [torch.rand(6, 1, 8, 8), torch.rand(6, 5)]
        assert clusterer(views).assignments.shape == (6, 3)


def test_fewer_than_no_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="levels: at least one, got -1"):
        SiMVC([(4,)], 2, levels=-1)
