import pytest
import torch

from modules.flows import CouplingFlow
from modules.layers import WaveNet
from tests.parity import assert_close


@pytest.mark.parametrize("share", [False, True])
def test_reverse_undoes_forward(share: bool) -> None:
    def make_enc() -> WaveNet:
        return WaveNet(8, kernel_size=5, n_layers=2, gin_channels=4)

    flow = CouplingFlow(6, 8, n_couplings=3, make_enc=make_enc, share=share)
    for coupling in flow.flows[::2]:
        torch.nn.init.normal_(coupling.post.weight)
    x, mask, g = torch.randn(2, 6, 10), torch.ones(2, 1, 10), torch.randn(2, 4, 1)
    moved = flow(x, mask, g)
    assert (moved - x.flip(1)).abs().max() > 0.1  # three flips and something more
    assert_close(flow(moved, mask, g, reverse=True), x, max_abs=1e-4)
    assert ("wn.cond_layer.weight_g" in flow.state_dict()) == share


def test_odd_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="must be even"):
        CouplingFlow(5, 8, n_couplings=1, make_enc=torch.nn.Identity)
