"""The synthesizer's encoders: prior, posterior, and the predictor of the melody.

B batch, C latent channels, F frames, gin width of the speaker vector g, hidden width of the networks. f0 in Hz. m and
logs: mean and log standard deviation of a normal distribution, index p prior, q posterior.
Paper: Kim, Kong and Son 2021, "VITS", arXiv:2106.06103, section 2. Attribute names are checkpoint keys.
"""

from torch import Tensor, nn

from common.config import ModelConfig
from modules.attentions import CausalDecoder, RelativeEncoder
from modules.layers import WaveNet
from modules.pitch import N_BINS, f0_to_coarse

POSTERIOR_KERNEL, POSTERIOR_LAYERS = 5, 16


class PriorEncoder(nn.Module):
    """Units and melody to the prior's distribution."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.proj = nn.Conv1d(config.hidden_channels, 2 * config.inter_channels, 1)
        self.f0_emb = nn.Embedding(N_BINS, config.hidden_channels)
        self.enc_ = RelativeEncoder(
            config.hidden_channels,
            filter_channels=config.filter_channels,
            n_heads=config.n_heads,
            n_layers=config.n_layers,
            kernel_size=config.kernel_size,
            p_dropout=config.p_dropout,
        )

    def forward(self, x: Tensor, mask: Tensor, f0: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, hidden, F), mask (B, 1, F), f0 (B, F) -> m_p, logs_p (B, C, F)."""
        x = x + self.f0_emb(f0_to_coarse(f0)).transpose(1, 2)  # (B, hidden, F)
        m_p, logs_p = (self.proj(self.enc_(x * mask, mask)) * mask).chunk(2, dim=1)
        return m_p, logs_p


class PosteriorEncoder(nn.Module):
    """Linear spectrogram to the posterior's distribution; used in training only."""

    def __init__(self, spec_channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.pre = nn.Conv1d(spec_channels, config.hidden_channels, 1)
        self.enc = WaveNet(
            config.hidden_channels,
            kernel_size=POSTERIOR_KERNEL,
            n_layers=POSTERIOR_LAYERS,
            gin_channels=config.gin_channels,
            depthwise=config.use_depthwise_conv,
        )
        self.proj = nn.Conv1d(config.hidden_channels, 2 * config.inter_channels, 1)

    def forward(self, spec: Tensor, mask: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """spec (B, bins, F), mask (B, 1, F), g (B, gin, 1) -> m_q, logs_q (B, C, F)."""
        m_q, logs_q = (self.proj(self.enc(self.pre(spec) * mask, mask, g)) * mask).chunk(2, dim=1)
        return m_q, logs_q


class F0Decoder(nn.Module):
    """Predict the speaker's own melody from the units and a melody without its mean."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = config.hidden_channels
        self.prenet = nn.Conv1d(hidden, hidden, 3, padding=1)
        self.decoder = CausalDecoder(
            hidden,
            filter_channels=config.filter_channels,
            n_heads=config.n_heads,
            n_layers=config.n_layers,
            kernel_size=config.kernel_size,
            p_dropout=config.p_dropout,
        )
        self.proj = nn.Conv1d(hidden, 1, 1)
        self.f0_prenet = nn.Conv1d(1, hidden, 3, padding=1)
        self.cond = nn.Conv1d(config.gin_channels, hidden, 1)

    def forward(self, x: Tensor, norm_lf0: Tensor, mask: Tensor, g: Tensor, *, mask_input: bool = False) -> Tensor:
        """x (B, hidden, F), norm_lf0 (B, 1, F), mask (B, 1, F), g (B, gin, 1 or F) -> lf0 (B, 1, F).

        Training lets padding leak into a clip's last frame through `prenet`, as the reference does; `mask_input`
        stops that, so that a clip gives the same alone and in a padded batch. Nothing is learnt through `x`.
        """
        x = x.detach() + self.cond(g) + self.f0_prenet(norm_lf0)
        if mask_input:
            x = x * mask
        return self.proj(self.decoder(self.prenet(x) * mask, mask)) * mask
