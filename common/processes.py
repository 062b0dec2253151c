"""Several training processes that torchrun started: which of them this is, and what they must agree on."""

import os

import torch
from torch import distributed


def rank() -> int:
    """Number of this process; 0 writes the files and the logs."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """Number of processes; 1 when torchrun was not used."""
    return int(os.environ.get("WORLD_SIZE", 1))


def join_group(device: torch.device) -> torch.device:
    """Join the process group that torchrun set up; returns the device of this process."""
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    if device.type != "cuda":
        return device
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


def in_any(flag: bool, device: torch.device) -> bool:
    """Whether ``flag`` is true in any process. Whatever ends or skips a step must be decided so.

    Processes that decide differently would wait for each other for ever.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return flag
    flags = torch.tensor(float(flag), device=device)
    distributed.all_reduce(flags, distributed.ReduceOp.MAX)
    return bool(flags)
