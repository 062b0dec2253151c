"""Samplers: the names that ``infer.method`` of diffusion.yaml and ``--sampler`` may hold."""

from common.registry import Entry, Registry

SAMPLERS = Registry(  # of models that predict noise, model.type Diffusion
    "sampler",
    {
        "ddim": Entry("diffusion.samplers.ddim:DDIM", note="first order"),
        "pndm": Entry("diffusion.samplers.pndm:PNDM", note="four predictions back"),
        "dpm-solver": Entry(
            "diffusion.samplers.dpm_solver:DPMSolver", {"of_mel": False}, note="second order, on the noise"
        ),
        "dpm-solver++": Entry(
            "diffusion.samplers.dpm_solver:DPMSolver", {"of_mel": True}, note="second order, on the mel; the default"
        ),
        "unipc": Entry("diffusion.samplers.unipc:UniPC", note="second order with a corrector"),
        "naive": Entry("diffusion.samplers.ddpm:DDPM", note="every step of training, with noise (DDPM)"),
    },
)

FLOW_SAMPLERS = Registry(  # of models that predict velocities, model.type RectifiedFlow
    "sampler for rectified flow",
    {
        "euler": Entry("diffusion.samplers.ode:Euler", note="first order"),
        "rk4": Entry("diffusion.samplers.ode:RungeKutta4", note="fourth order, four evaluations per step"),
    },
)


def evaluations(name: str, *, k_step: int, speedup: int) -> int:
    """How often a sampler evaluates the network, which is what a run costs.

    Raises:
        ValueError: unknown name, or numbers that this sampler cannot work with.
    """
    registry = FLOW_SAMPLERS if name in FLOW_SAMPLERS else SAMPLERS
    return registry.build(name, k_step=k_step, speedup=speedup).evaluations
