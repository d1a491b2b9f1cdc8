"""The keys of a MeanFlow or flow matching run, and what they exclude."""

import dataclasses

from drifting.core.errors import ConfigError, one_of
from drifting.core.facts import DataFacts
from drifting.flows import paths, solvers
from drifting.methods import gradients
from drifting.methods.batches import BatchSettings

LOSSES = ("meanflow", "improved")
SAMPLERS = ("meanflow", *solvers.SOLVERS)


@dataclasses.dataclass(frozen=True)
class Settings(BatchSettings):
    """The keys of config.method; values of the release for ImageNet latents (arXiv:2505.13447)."""

    # The share of a batch with r != t, which mean velocities are learned from; 0: flow matching.
    # Releases say 0.75 of either share: this one says which.
    share_r_neq_t: float = 0.25
    # meanflow: along e - x. improved: along the network's own velocity (iMF, arXiv:2512.02012).
    loss: str = "meanflow"
    norm_power: float = 1.0  # of the adaptive weight 1 / (|error|^2 + norm_epsilon)^norm_power
    norm_epsilon: float = 0.01
    times: str = "logit_normal"  # or uniform; r and t are two draws, in order
    times_mean: float = -0.4
    times_std: float = 1.0
    class_conditional: bool = True
    label_dropout: float = 0.1  # trains the null class, which guidance needs
    # Guidance in training: of the target omega v + (1 - omega - kappa) u_null + kappa u_class, for
    # t in [start, end]; about a guidance scale of omega / (1 - kappa), at one evaluation a sample.
    guidance_omega: float = 1.0
    guidance_kappa: float = 0.0
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    sampler: str = "meanflow"  # or euler, heun, rk4, on instantaneous velocities
    sampling_steps: int = 1
    num_diagnosed: int = 256  # samples of the energy distance and one-step error in training

    def check(self, facts: DataFacts) -> None:
        """Raises ConfigError for a value that cannot be; the key is named."""
        super().check(facts)
        one_of("method.loss", self.loss, LOSSES)
        one_of("method.times", self.times, paths.TIMES)
        for name in ("share_r_neq_t", "label_dropout", "guidance_start", "guidance_end"):
            value = vars(self)[name]
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"config.method.{name} = {value} is not in [0, 1]")
        if self.share_r_neq_t and not self.curved:
            raise ConfigError(
                f"config.method.share_r_neq_t = {self.share_r_neq_t} of config.method.batch_size = "
                f"{self.batch_size} is less than one row"
            )
        curved, straight = self.rows
        what = f"the {curved} rows with r != t and the {straight} with r = t"
        for rows in self.rows:
            gradients.require_division(self.micro_batches, rows, what)
        if self.guided and not self.has_null_class:
            raise ConfigError(
                "guidance in training (config.method.guidance_omega, guidance_kappa) needs "
                "class_conditional = True and label_dropout > 0: it is taken from the null class"
            )
        self.check_sampler()

    def check_sampler(self) -> None:
        """Raises ConfigError for a sampler that there is not, or that this run did not learn."""
        one_of("method.sampler", self.sampler, SAMPLERS)
        if self.sampling_steps < 1:
            raise ConfigError(
                f"config.method.sampling_steps = {self.sampling_steps} is less than one"
            )
        if self.sampler == "meanflow" and not self.curved:
            raise ConfigError(
                "the sampler 'meanflow' needs mean velocities, and config.method.share_r_neq_t = "
                f"0 learns instantaneous ones alone; choose one of {', '.join(solvers.SOLVERS)}"
            )

    @property
    def curved(self) -> int:
        """Rows of a batch with r != t, the first ones; 0 in flow matching."""
        return round(self.share_r_neq_t * self.batch_size)

    @property
    def rows(self) -> tuple[int, int]:
        """Of a batch with r != t, and with r = t."""
        return self.curved, self.batch_size - self.curved

    @property
    def guided(self) -> bool:
        """Whether training regresses on the guided velocity."""
        return self.guidance_omega != 1.0 or self.guidance_kappa != 0.0

    @property
    def has_null_class(self) -> bool:
        """Whether a null class is trained beside others."""
        return self.class_conditional and self.label_dropout > 0

    @property
    def needs(self) -> dict[str, str]:
        needed = {"time": "method 'meanflow'"}
        if self.curved:
            needed["interval"] = f"config.method.share_r_neq_t = {self.share_r_neq_t:g}"
        if self.class_conditional:
            needed["label"] = "config.method.class_conditional = True"
        return needed

    def num_labels(self, facts: DataFacts) -> int:
        return facts.num_classes if self.class_conditional else 0
