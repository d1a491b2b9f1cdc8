"""The config keys of MeanFlow and flow matching, and their constraints."""

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
    """The keys of config.method; defaults of the ImageNet latent release (arXiv:2505.13447)."""

    # The share of a batch with r != t, from which mean velocities are learned; 0: flow matching.
    # (In the releases 0.75 may mean either share.)
    share_r_neq_t: float = 0.25
    # The tangent of the Jacobian-vector product. meanflow: e - x. improved: the network's own
    # velocity (iMF, arXiv:2512.02012).
    loss: str = "meanflow"
    norm_power: float = 1.0  # adaptive weight: 1 / (|error|^2 + norm_epsilon)^norm_power
    norm_epsilon: float = 0.01
    times: str = "logit_normal"  # or uniform; r and t are two draws, sorted
    times_mean: float = -0.4
    times_std: float = 1.0
    class_conditional: bool = True
    label_dropout: float = 0.1  # trains the null class, needed for guidance
    # Guidance in training: v becomes omega v + (1 - omega - kappa) u_null + kappa u_class for t in
    # [start, end]. Acts like a guidance scale of omega / (1 - kappa), at one evaluation per sample.
    guidance_omega: float = 1.0
    guidance_kappa: float = 0.0
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    sampler: str = "meanflow"  # or euler, heun, rk4 with instantaneous velocities
    sampling_steps: int = 1
    num_diagnosed: int = 256  # samples for the energy distance and one-step error in training

    def check(self, facts: DataFacts) -> None:
        """Raises ConfigError, naming the key, for a value out of range."""
        super().check(facts)
        one_of("method.loss", self.loss, LOSSES)
        one_of("method.times", self.times, paths.TIMES)
        for name in ("share_r_neq_t", "label_dropout", "guidance_start", "guidance_end"):
            value = vars(self)[name]
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"config.method.{name} = {value} is not in [0, 1]")
        if self.share_r_neq_t and not self.rows_r_neq_t:
            raise ConfigError(
                f"config.method.share_r_neq_t = {self.share_r_neq_t} of config.method.batch_size = "
                f"{self.batch_size} is less than one row: raise either, or set the share to 0 for "
                "flow matching"
            )
        r_neq_t, r_eq_t = self.rows
        what = f"the {r_neq_t} rows with r != t and the {r_eq_t} with r = t"
        for rows in self.rows:
            gradients.require_division(self.micro_batches, rows, what)
        if self.guided and not self.has_null_class:
            raise ConfigError(
                "guidance in training (config.method.guidance_omega, guidance_kappa) needs "
                "class_conditional = True and label_dropout > 0, which train the null class"
            )
        self.check_sampler()

    def check_sampler(self) -> None:
        """Raises ConfigError for an unknown sampler, or one that needs what is not learned."""
        one_of("method.sampler", self.sampler, SAMPLERS)
        if self.sampling_steps < 1:
            raise ConfigError(
                f"config.method.sampling_steps = {self.sampling_steps} must be at least 1"
            )
        if self.sampler == "meanflow" and not self.rows_r_neq_t:
            raise ConfigError(
                "config.method.sampler = 'meanflow' needs mean velocities, but with share_r_neq_t "
                "= 0 only instantaneous ones are learned; choose one of "
                f"{', '.join(solvers.SOLVERS)}"
            )

    @property
    def rows_r_neq_t(self) -> int:
        """The number of rows of a batch with r != t, which come first; 0 in flow matching."""
        return round(self.share_r_neq_t * self.batch_size)

    @property
    def rows(self) -> tuple[int, int]:
        """The numbers of rows of a batch with r != t and with r = t."""
        return self.rows_r_neq_t, self.batch_size - self.rows_r_neq_t

    @property
    def guided(self) -> bool:
        """Whether training regresses on the guided velocity."""
        return self.guidance_omega != 1.0 or self.guidance_kappa != 0.0

    @property
    def has_null_class(self) -> bool:
        """Whether a null class is trained in addition to the others."""
        return self.class_conditional and self.label_dropout > 0

    @property
    def needs(self) -> dict[str, str]:
        needed = {"time": "method 'meanflow'"}
        if self.rows_r_neq_t:
            needed["interval"] = f"config.method.share_r_neq_t = {self.share_r_neq_t:g}"
        if self.class_conditional:
            needed["label"] = "config.method.class_conditional = True"
        return needed

    def num_labels(self, facts: DataFacts) -> int:
        return facts.num_classes if self.class_conditional else 0
