"""RMVPE: a U-Net over the log-mel, a recurrent layer, a salience over pitch bins.

Letters: B batch, F frames (a multiple of 32 inside the U-Net), M mels, C channels, P pitch bins.
Wei et al. 2023, "RMVPE: a robust model for vocal pitch estimation in polyphonic music", arXiv:2306.15412.
Images are (B, C, F, M). Attribute names are checkpoint keys.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

N_MELS, N_BINS = 128, 360
CHANNELS = (16, 32, 64, 128, 256)  # of the encoder's levels; each level halves frames and mels
N_BLOCKS = 4  # residual blocks per level
N_BOTTOM_LEVELS = 4
RECURRENT_CHANNELS = 256
FRAME_MULTIPLE = 2 ** len(CHANNELS)


class Rmvpe(nn.Module):
    """Log-mel to the salience of every pitch bin.

    Args:
        unused_filters: keep a place for the blocks ``unet.tf`` that the authors' files hold and their forward pass
            leaves out; RVC's file is the same network without them.
    """

    def __init__(self, *, unused_filters: bool = True) -> None:
        super().__init__()
        self.unet = _UNet(unused_filters=unused_filters)
        self.cnn = nn.Conv2d(CHANNELS[0], 3, 3, padding=1)
        self.fc = nn.Sequential(_Recurrent(3 * N_MELS), nn.Linear(2 * RECURRENT_CHANNELS, N_BINS))

    def forward(self, mel: Tensor) -> Tensor:
        """mel (B, M, F), natural logarithm -> (B, F, P) in 0..1.

        Frames are padded with zeros, not with the logarithm of silence: the released weights were used like this.
        """
        n_frames = mel.shape[-1]
        mel = F.pad(mel, (0, -n_frames % FRAME_MULTIPLE))
        x = self.cnn(self.unet(mel.transpose(1, 2)[:, None]))  # (B, 3, F, M)
        x = x.transpose(1, 2).flatten(-2)  # (B, F, 3 M)
        return torch.sigmoid(self.fc(x))[:, :n_frames]


class _Recurrent(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gru = nn.GRU(channels, RECURRENT_CHANNELS, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(x)[0]


class _UNet(nn.Module):
    def __init__(self, *, unused_filters: bool) -> None:
        super().__init__()
        self.encoder = _Encoder()
        self.intermediate = _Bottom(CHANNELS[-1], 2 * CHANNELS[-1])
        if unused_filters:
            self.tf = _Filters()
        self.decoder = _Decoder()

    def forward(self, x: Tensor) -> Tensor:
        x, skips = self.encoder(x)
        return self.decoder(self.intermediate(x), skips)


class _Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(n_inputs, n_outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_outputs),
            nn.ReLU(),
            nn.Conv2d(n_outputs, n_outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_outputs),
            nn.ReLU(),
        )
        self.shortcut = nn.Conv2d(n_inputs, n_outputs, 1) if n_inputs != n_outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + self.shortcut(x)


def _blocks(n_inputs: int, n_outputs: int) -> list[_Block]:
    return [_Block(n_inputs if i == 0 else n_outputs, n_outputs) for i in range(N_BLOCKS)]


class _Level(nn.Module):
    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.conv = nn.ModuleList(_blocks(n_inputs, n_outputs))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.conv:
            x = block(x)
        return x


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(1)
        widths = zip((1, *CHANNELS[:-1]), CHANNELS, strict=True)
        self.layers = nn.ModuleList(_Level(n_inputs, n_outputs) for n_inputs, n_outputs in widths)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, skips = self.bn(x), []
        for level in self.layers:
            x = level(x)
            skips.append(x)
            x = F.avg_pool2d(x, 2)
        return x, skips


class _Bottom(nn.Module):
    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            _Level(n_inputs if i == 0 else n_outputs, n_outputs) for i in range(N_BOTTOM_LEVELS)
        )

    def forward(self, x: Tensor) -> Tensor:
        for level in self.layers:
            x = level(x)
        return x


class _Filters(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Block(channels, channels) for channels in CHANNELS)


class _UpLevel(nn.Module):
    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.ConvTranspose2d(n_inputs, n_outputs, 3, stride=2, padding=1, output_padding=1, bias=False),
            nn.BatchNorm2d(n_outputs),
            nn.ReLU(),
        )
        self.conv2 = nn.ModuleList(_blocks(2 * n_outputs, n_outputs))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = torch.cat([self.conv1(x), skip], dim=1)
        for block in self.conv2:
            x = block(x)
        return x


class _Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_UpLevel(2 * channels, channels) for channels in reversed(CHANNELS))

    def forward(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        for level, skip in zip(self.layers, reversed(skips), strict=True):
            x = level(x, skip)
        return x
