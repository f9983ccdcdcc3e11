"""What a run was made with."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

import torch

import ar_dmvc


def machine(device: torch.device) -> dict[str, str]:
    """Versions, device and machine, in words."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()}, {os.cpu_count()} cores"
    return {
        "ar_dmvc": ar_dmvc.__version__,
        "torch": torch.__version__,
        "lightning": version("lightning"),
        "Python": platform.python_version(),
        "device": f"{device.type}: {name}",
        "threads": str(torch.get_num_threads()),
    }
