"""The one place that chooses a device."""

import torch


def resolve(name: str | torch.device | None = None) -> torch.device:
    """Return the device called ``name``; ``None``, "" and "auto" take CUDA, then MPS, then the CPU.

    Raises:
        ValueError: the named device is not present. A device that was asked for is never replaced silently.
    """
    if name in (None, "", "auto"):
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)  # type: ignore[arg-type]
    except RuntimeError:
        raise ValueError(f"unknown device {name!r}: write cpu, cuda, cuda:N, mps or auto") from None
    if device.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"unknown device {str(name)!r}: write cpu, cuda, cuda:N, mps or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise ValueError(
            f"device '{device}' was asked for, but {found} CUDA devices are present: use -d cpu or -d auto"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device 'mps' was asked for, but this machine has none: use -d cpu or -d auto")
    return device


def visible() -> list[torch.device]:
    """All the devices that work may be spread over: every CUDA device, else the default one."""
    return [torch.device("cuda", i) for i in range(torch.cuda.device_count())] or [resolve()]
