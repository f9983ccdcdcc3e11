"""Benchmarks: plan, run, resume, collect."""

from __future__ import annotations

from collections.abc import Sequence

from ar_dmvc import api
from ar_dmvc.arguments import check_files
from ar_dmvc.benchmark.grid import Benchmark
from ar_dmvc.runs.job import Job

__all__ = ["Benchmark", "Job", "main"]


def main(args: Sequence[str]) -> None:
    """``ardmvc benchmark``.

    Args:
        args: what follows the command.
    """
    from jsonargparse import ActionConfigFile, ArgumentParser  # type: ignore[attr-defined]

    parser = ArgumentParser(prog="ardmvc benchmark", description=Benchmark.__doc__, exit_on_error=False)
    parser.add_argument("--config", action=ActionConfigFile, help="a benchmark's settings in YAML")
    parser.add_class_arguments(Benchmark, None)
    check_files(args)
    settings = parser.parse_args(list(args))
    settings.pop("config", None)
    benchmark = Benchmark(**settings.as_dict())
    benchmark.report(benchmark.run(api.call))
