"""What a run tells: TensorBoard scalars, audio and pictures. Pictures are drawn in a thread, off the training path."""

import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)


class Reporter:
    """Writes to TensorBoard; with ``folder`` None (every process but the first) it writes nothing.

    What a killed run wrote about steps from ``step`` on is hidden: they will be made again.
    """

    def __init__(self, folder: Path | None, sample_rate: int, step: int = 0) -> None:
        self.sample_rate = sample_rate
        self.writer = SummaryWriter(str(folder), purge_step=step + 1) if folder else None
        self.painter = ThreadPoolExecutor(max_workers=1)

    def scalars(self, group: str, figures: Mapping[str, float], step: int) -> None:
        if self.writer:
            for name, value in figures.items():
                self.writer.add_scalar(f"{group}/{name}", value, step)

    def audio(self, name: str, wav: np.ndarray, step: int) -> None:
        """wav (T,) in [-1, 1]."""
        if self.writer:
            self.writer.add_audio(f"audio/{name}", wav[None], step, sample_rate=self.sample_rate)

    def clip(self, name: str, wavs: Mapping[str, Tensor], mels: Mapping[str, Tensor], *, f0: Tensor, step: int) -> None:
        """Versions of one clip, recorded and made: wavs (T,), log-mels (M, F), and its f0 (F,) in Hz."""
        for title, wav in wavs.items():
            self.audio(f"{name}/{title}", wav.float().cpu().numpy(), step)
        self.compare(name, {title: mel.cpu().numpy() for title, mel in mels.items()}, f0.cpu().numpy(), step)

    def compare(self, name: str, mels: Mapping[str, np.ndarray], f0: np.ndarray, step: int) -> None:
        """Log-mels (M, F) one above the other, each with the f0 curve (F,) in Hz drawn over time below."""
        if self.writer:
            self.painter.submit(self._paint, name, dict(mels), f0, step).add_done_callback(_log_failure)

    def _paint(self, name: str, mels: dict[str, np.ndarray], f0: np.ndarray, step: int) -> None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 2.2 * (len(mels) + 1)), layout="constrained")
        axes = figure.subplots(len(mels) + 1, 1, sharex=True)
        for axis, (title, mel) in zip(axes, mels.items(), strict=False):
            axis.imshow(mel, aspect="auto", origin="lower", interpolation="nearest")
            axis.set_title(f"{title}: log-mel", fontsize=9)
        axes[-1].plot(f0)
        axes[-1].set_ylabel("f0 (Hz)")
        axes[-1].set_xlabel("frame")
        assert self.writer
        self.writer.add_figure(f"mel/{name}", figure, step, close=False)

    def close(self) -> None:
        self.painter.shutdown()
        if self.writer:
            self.writer.close()


def _log_failure(drawn: "Future[None]") -> None:
    """A picture that cannot be drawn stops no training, but it is said."""
    if error := drawn.exception():
        logger.error("a picture for TensorBoard could not be drawn: %s", error, exc_info=error)
