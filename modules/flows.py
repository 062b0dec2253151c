"""The normalising flow between the posterior's latent and the speaker-independent prior.

B batch, C channels, F frames, g speaker vectors. Couplings shift one half of the channels by a function of the
other half, without scaling, so that the log-determinant is zero.
Papers: Dinh, Sohl-Dickstein and Bengio 2017, arXiv:1605.08803; Kim, Kong and Son 2021, arXiv:2106.06103, section 2.5.2.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Flip(nn.Module):
    """Reverse the order of the channels, so that the next coupling changes the other half."""

    def forward(self, x: Tensor, mask: Tensor, g: Tensor, *, reverse: bool = False) -> Tensor:
        return torch.flip(x, [1])


class Coupling(nn.Module):
    """Add to the second half of the channels what `enc` makes of the first half and the speaker."""

    def __init__(self, channels: int, hidden_channels: int, enc: nn.Module) -> None:
        super().__init__()
        self.half = channels // 2
        self.pre = nn.Conv1d(self.half, hidden_channels, 1)
        self.enc = enc
        self.post = nn.Conv1d(hidden_channels, self.half, 1)
        # an untrained coupling is the identity
        nn.init.zeros_(self.post.weight)
        nn.init.zeros_(self.post.bias)

    def forward(self, x: Tensor, mask: Tensor, g: Tensor, *, reverse: bool = False) -> Tensor:
        """x (B, C, F), mask (B, 1, F), g (B, gin, 1 or F) -> (B, C, F)."""
        kept, changed = x[:, : self.half], x[:, self.half :]
        shift = self.post(self.enc(self.pre(kept) * mask, mask, g)) * mask
        changed = (changed - shift) * mask if reverse else changed * mask + shift
        return torch.cat([kept, changed], dim=1)


class CouplingFlow(nn.Module):
    """`n_couplings` couplings, each followed by a flip.

    Args:
        make_enc: builds the network inside a coupling, called as enc(x, mask, g).
        share: all couplings use one network, which checkpoints then hold as `wn` and again inside every coupling.

    Raises:
        ValueError: an odd number of channels.
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        *,
        n_couplings: int,
        make_enc: Callable[[], nn.Module],
        share: bool = False,
    ) -> None:
        super().__init__()
        if channels % 2:
            raise ValueError(f"inter_channels must be even for the flow, got {channels}")
        shared = make_enc() if share else None
        self.flows = nn.ModuleList()
        for _ in range(n_couplings):
            self.flows.append(Coupling(channels, hidden_channels, make_enc() if shared is None else shared))
            self.flows.append(Flip())
        if shared is not None:
            self.wn = shared  # after `flows`: this order is that of the keys in checkpoints

    def forward(self, x: Tensor, mask: Tensor, g: Tensor, *, reverse: bool = False) -> Tensor:
        """Latent to prior space, or back: x (B, C, F), mask (B, 1, F), g (B, gin, 1 or F) -> (B, C, F)."""
        for flow in reversed(self.flows) if reverse else self.flows:
            x = flow(x, mask, g, reverse=reverse)
        return x
