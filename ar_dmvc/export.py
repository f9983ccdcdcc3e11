"""``ardmvc export``: a trained clusterer as a file that runs without this package."""

from __future__ import annotations

import copy
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from jsonargparse import ArgumentParser
from jsonargparse.typing import PositiveFloat, PositiveInt
from torch import Tensor, nn

from ar_dmvc.arguments import clusterers_named
from ar_dmvc.clusterers import Clusterer, Smoothed, load_clusterer
from ar_dmvc.clusterers.smoothed import FixedNoise
from ar_dmvc.errors import ConfigurationError, TrainingError
from ar_dmvc.files import whole_file
from ar_dmvc.seeding import torch_generator
from ar_dmvc.suggestions import parse

Format = Literal["onnx", "torch_export"]
_SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2"}
_TOLERANCE = 1e-5
_BATCHES = (1, 7)
_DRAWS = 100


class Deployed(nn.Module):
    """Raw views in, assignments out: a clusterer with the scaling that its data had.

    Of a clusterer that takes samples without some views, those are missing whose values are all NaN. Of any other NaN, and of a
    sample without views, the assignments are NaN.

    Args:
        clusterer: as :func:`~ar_dmvc.load_clusterer` gives it.
    """

    def __init__(self, clusterer: Clusterer) -> None:
        super().__init__()
        self.clusterer = copy.deepcopy(clusterer).eval()
        for module in self.clusterer.modules():
            module._forward_pre_hooks.clear()  # checks of what the scaling below guarantees
        self.scalings = clusterer.scalings
        for number, scaling in enumerate(self.scalings or ()):
            self.register_buffer(f"offset_{number}", scaling.offset)
            self.register_buffer(f"factor_{number}", scaling.factor)

    def forward(self, *views: Tensor) -> Tensor:
        """Assignments (N, K) of V raw views (N, *shape_v)."""
        mask = None
        if self.clusterer.takes_incomplete:
            mask = torch.stack([~view.isnan().flatten(1).all(1) for view in views], 1)
        if self.scalings is not None:
            own = (
                scaling._replace(offset=getattr(self, f"offset_{number}"), factor=getattr(self, f"factor_{number}"))
                for number, scaling in enumerate(self.scalings)
            )
            views = tuple(scale(view) for scale, view in zip(own, views, strict=True))
        if mask is not None:
            views = tuple(
                view.masked_fill(~there.view(-1, *[1] * (view.dim() - 1)), 0)
                for view, there in zip(views, mask.unbind(1), strict=True)
            )
        return self.clusterer.cluster(views, mask).assignments


def export(
    checkpoint: str | Path,
    output: str | Path,
    format: Format = "onnx",
    allowed: Sequence[type[Clusterer]] = (),
    sigma: float | None = None,
    draws: int = _DRAWS,
) -> float:
    """Write the clusterer of a checkpoint as a file that takes raw views, in batches of one or more, and gives assignments.

    What was written is read again and compared with the clusterer.

    Args:
        checkpoint: of ``ardmvc fit``, or of the estimator.
        output: the file to write.
        format: ``onnx``, with inputs ``raw_view_0``, ``raw_view_1``, ... and the output ``assignments``, or
            ``torch_export``, a program for ``torch.export.load``. Views are float32; float64 where the training data varies
            so little around a large number that float32 would lose it.
        allowed: classes of one's own that the checkpoint may name.
        sigma: smooth the clusterer with Gaussian noise of this standard deviation, positive, as ``ardmvc test --sigma`` does;
            the noise is drawn once, and part of what is written. None: it stays as it is.
        draws: with ``sigma``, noisy copies of each sample, whose mean assignment is given.

    Returns:
        The largest difference of an assignment, at most 1e-5.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ConfigurationError: a clusterer whose output is random in other ways than a smoothed one's, views to smooth that are not
            in [0, 1], no folder to write to, or what ONNX needs is not installed.
        TrainingError: what was written computes something else.
        ValueError: ``sigma`` or ``draws`` is not positive.
    """
    clusterer = _repeatable(load_clusterer(checkpoint, allowed=allowed), sigma, draws)
    model = Deployed(clusterer).eval()
    batch = torch.export.Dim("batch", min=1)
    views = _example(clusterer, 2)
    output = Path(output)
    if output.is_dir():
        raise ConfigurationError(f"output: {output} is a folder; give a file")
    if output.resolve() == Path(checkpoint).resolve():
        raise ConfigurationError(f"output: {output} is the checkpoint itself")
    if not output.parent.is_dir():
        raise ConfigurationError(f"output: {output.parent}: no such folder")
    scratch = output.with_name(f".{output.name}.{secrets.token_hex(4)}{_SUFFIXES[format]}")  # torch goes by the suffix
    try:
        with _without_remarks(), torch.no_grad():
            program = torch.export.export(model, views, dynamic_shapes=(tuple({0: batch} for _ in views),))
            exported = _write_onnx(program, scratch) if format == "onnx" else _write_program(program, scratch)
            examples = [_example(clusterer, size) for size in _BATCHES]
            differences = [(exported(example) - model(*example)).abs().max() for example in examples]
            difference = float(torch.stack(differences).max())  # NaN, if one is
        if not difference <= _TOLERANCE:
            raise TrainingError(f"export: what was written gives assignments that differ by {difference:.2g}")
        scratch.replace(output)
    finally:
        scratch.unlink(missing_ok=True)
    return difference


Exported = Callable[[tuple[Tensor, ...]], Tensor]


def _repeatable(clusterer: Clusterer, sigma: float | None, draws: int) -> Clusterer:
    """A clusterer, smoothed where asked, whose output does not change from pass to pass."""
    scalings, seed = clusterer.scalings, 0
    if sigma is None and isinstance(clusterer, Smoothed):
        sigma, draws, seed, clusterer = clusterer.sigma, clusterer.draws, clusterer.seed, clusterer.clusterer
    for part in clusterer.modules():
        if isinstance(part, Clusterer) and part.is_stochastic:
            raise ConfigurationError(f"export: the output of {type(part).__name__} is random")
    if sigma is None:
        return clusterer
    if any(scaling.name != "min_max" for scaling in scalings or ()):
        raise ConfigurationError(
            "sigma: noisy views are clipped to [0, 1], where these may not be; scale them with data.scaling = min_max"
        )
    fixed = FixedNoise(clusterer, sigma, draws, seed)
    fixed.scalings = scalings
    return fixed.eval()


def _write_program(program: torch.export.ExportedProgram, output: Path) -> Exported:
    with whole_file(output) as file:
        torch.export.save(program, file)
    read = torch.export.load(output).module()
    return lambda views: read(*views)


def _write_onnx(program: torch.export.ExportedProgram, output: Path) -> Exported:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  what torch makes ONNX with
    except ImportError as error:
        raise ConfigurationError("export: ONNX needs pip install 'ar-dmvc[export]'; or take --format torch_export") from error
    made = torch.onnx.export(program, dynamo=True, verbose=False)
    assert made is not None
    graph = made.model.graph
    for number, value in enumerate(graph.inputs):
        value.name = f"raw_view_{number}"  # torch calls other values view_1
    graph.outputs[0].name = "assignments"
    names = [value.name for value in graph.inputs]
    with whole_file(output) as file:
        file.write(made.model_proto.SerializeToString())
    session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
    return lambda views: torch.from_numpy(
        session.run(["assignments"], dict(zip(names, (view.numpy() for view in views), strict=True)))[0]
    )


def _example(clusterer: Clusterer, size: int) -> tuple[Tensor, ...]:
    """Raw views of made-up samples, within the range of training or a little beyond, and in the precision that they need.

    Where a clusterer takes samples without some views, the first is without its first view, and the last without its last.
    """
    generator = torch_generator(torch.device("cpu"), 0, size)
    views = [torch.rand(size, *shape, generator=generator) * 1.1 for shape in clusterer.view_shapes]
    if clusterer.scalings is not None:
        ranges = (scaling.factor.where(scaling.factor != 0, 1.0) for scaling in clusterer.scalings)
        own = zip(views, ranges, clusterer.scalings, strict=True)
        views = [
            (view / factor + scaling.offset).to(torch.float64 if scaling.needs_double else torch.float32)
            for view, factor, scaling in own
        ]
    if clusterer.takes_incomplete and size > 1 and len(views) > 1:
        views[0][0] = views[-1][-1] = torch.nan
    return tuple(views)


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Torch's remarks on operators of packages that are not installed."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def main(args: Sequence[str]) -> None:
    """``ardmvc export``.

    Args:
        args: what follows the command.

    Raises:
        ArDmvcError: something that a user can fix.
    """
    given = parse(parser(), args)
    if given.sigma is None and given.draws != _DRAWS:
        raise ConfigurationError(f"draws = {given.draws}: counts only with sigma")
    checkpoint = Path(given.ckpt_path)
    stem = checkpoint.stem if given.sigma is None else f"{checkpoint.stem}_smoothed"
    output = given.output or checkpoint.with_name(stem + _SUFFIXES[given.format])
    difference = export(given.ckpt_path, output, given.format, clusterers_named(given.allow), given.sigma, given.draws)
    smoothed = "" if given.sigma is None else f" smoothed with noise of {given.sigma:g},"
    print(f"{output}: raw views in, assignments out;{smoothed} the same as the checkpoint's to {difference:.1g}")


def parser() -> ArgumentParser:
    """What ``ardmvc export`` takes."""
    made = ArgumentParser(prog="ardmvc export", description=__doc__, exit_on_error=False, allow_abbrev=False)
    made.add_argument("--ckpt_path", type=str, required=True, help="the checkpoint")
    made.add_argument("--format", type=Format, default="onnx", help="onnx, or torch_export: for torch.export.load")
    made.add_argument("--output", type=Path | None, default=None, help="the file; by default beside the checkpoint")
    made.add_argument("--allow", type=str | list[str], default=[], help="classes from outside ar_dmvc that it may name")
    made.add_argument(
        "--sigma",
        type=PositiveFloat | None,
        default=None,
        help="smooth it with Gaussian noise of this standard deviation",
    )
    made.add_argument("--draws", type=PositiveInt, default=_DRAWS, help="with sigma: noisy copies, whose mean is given")
    return made
