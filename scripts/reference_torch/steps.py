"""One step of training in PyTorch, and its learning rate."""

import contextlib
import math
from typing import Any

import torch
from torch.nn import functional as F

METRICS = ("loss", "accuracy", "grad_norm")


def learning_rate(optimizer: Any, total_steps: int, step: int) -> float:
    """The rate of a step, counted from 0: drifting.core.optimizers.learning_rates in floats."""
    first, last = optimizer.learning_rate, optimizer.final_learning_rate
    warmup, linear = optimizer.warmup_steps, optimizer.schedule == "linear"
    start = max(warmup, optimizer.hold_share * total_steps) if linear else warmup
    if step < warmup:
        return first * (step + 1) / warmup
    if optimizer.schedule == "constant" or step < start:
        return first
    done = (step - start) / (total_steps - start)
    share = 1.0 - done if linear else 0.5 * (1.0 + math.cos(math.pi * done))
    return last + (first - last) * share


def make_optimizer(settings: Any, network: torch.nn.Module) -> torch.optim.Optimizer:
    """SGD of config.optimizer; weight decay acts on all parameters, norms and biases included."""
    return torch.optim.SGD(
        network.parameters(),
        lr=0.0,  # set before every step
        momentum=settings.momentum,
        nesterov=True,
        weight_decay=settings.weight_decay,
    )


def computing_in(precision: str, device: torch.device) -> contextlib.AbstractContextManager:
    """The context in which a network computes in config.precision; parameters stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def train_step(
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    images: torch.Tensor,
    labels: torch.Tensor,
    rate: float,
    label_smoothing: float = 0.0,
    clip_norm: float = 0.0,
    precision: str = "float32",
) -> torch.Tensor:
    """Updates the network by a batch of standardised images [B, C, H, W].

    Returns:
      The METRICS of the batch, float32 [3], before the update and the clipping.
    """
    network.train()
    with computing_in(precision, images.device):
        logits = network(images)
    loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), clip_norm or math.inf)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    accuracy = (logits.argmax(dim=1) == labels).float().mean()
    return torch.stack([loss.detach(), accuracy, norm])
