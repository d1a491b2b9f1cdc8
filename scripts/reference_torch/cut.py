"""The training step of the CUT release in plain PyTorch, to time ours against it.

Park et al., "Contrastive Learning for Unpaired Image-to-Image Translation" (arXiv:2007.15651);
networks, losses and the order of the updates are those of
github.com/taesungp/contrastive-unpaired-translation (models/cut_model.py, networks.py,
patchnce.py) with its default options. Parameters have the names of its checkpoints. Maps are
[B, C, H, W].
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

TAPS = (0, 4, 8, 12, 16)  # elements of `Generator.model` whose outputs PatchNCE compares
PATCHES = 256  # places of each map
TEMPERATURE = 0.07
ADVERSARIAL = ("lsgan", "vanilla", "nonsaturating")


def binomial(weights: Sequence[float], channels: int) -> torch.Tensor:
    """The outer product of `weights` with itself, with sum 1, per channel: [channels, 1, n, n]."""
    row = torch.tensor(weights) / sum(weights)
    return torch.outer(row, row).expand(channels, 1, -1, -1).clone()


class Down(nn.Module):
    """Blurs with (1, 2, 1) on reflected edges and keeps every second row and column."""

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("filter", binomial((1.0, 2.0, 1.0), channels), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, (1, 1, 1, 1), mode="reflect")
        return F.conv2d(x, self.filter, stride=2, groups=x.shape[1])


class Up(nn.Module):
    """Doubles a map, smoothed with (1, 3, 3, 1) on repeated edges."""

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("filter", 4 * binomial((1.0, 3.0, 3.0, 1.0), channels), False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        x = F.conv_transpose2d(x, self.filter, stride=2, padding=2, groups=x.shape[1])
        return x[:, :, 1:-1, 1:-1]


class Block(nn.Module):
    """Two 3x3 convolutions on reflected edges, added to the input."""

    def __init__(self, width: int):
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv_block(x)


def convolved(inputs: int, outputs: int, kernel: int, padding: int) -> list[nn.Module]:
    """A convolution with a bias, an instance norm without weights and a ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=padding)
    return [convolution, nn.InstanceNorm2d(outputs), nn.ReLU(inplace=True)]


class Generator(nn.Module):
    """Images [B, C, H, W] to images in [-1, 1] of the same size, with antialiased resampling."""

    def __init__(self, channels: int = 3, width: int = 64, blocks: int = 9):
        super().__init__()
        layers = [nn.ReflectionPad2d(3), *convolved(channels, width, 7, 0)]
        for w in (width, 2 * width):
            layers += [*convolved(w, 2 * w, 3, 1), Down(2 * w)]
        layers += [Block(4 * width) for _ in range(blocks)]
        for w in (4 * width, 2 * width):
            layers += [Up(w), *convolved(w, w // 2, 3, 1)]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, channels, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)
        self.apply(initialize)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images)

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The maps at TAPS; nothing past the last of them is computed."""
        maps, x = [], images
        for i, layer in enumerate(self.model[: TAPS[-1] + 1]):
            x = layer(x)
            if i in TAPS:
                maps.append(x)
        return maps


class Discriminator(nn.Module):
    """Images [B, C, H, W] to logits [B, 1, h, w] of overlapping 70x70 patches."""

    def __init__(self, channels: int = 3, width: int = 64):
        super().__init__()
        layers = [nn.Conv2d(channels, width, 4, padding=1), nn.LeakyReLU(0.2, True), Down(width)]
        for w in (width, 2 * width, 4 * width):
            layers += [nn.Conv2d(w, 2 * w, 4, padding=1), nn.InstanceNorm2d(2 * w)]
            layers += [nn.LeakyReLU(0.2, True)]
            layers += [Down(2 * w)] if w < 4 * width else []
        self.model = nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, padding=1))
        self.apply(initialize)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images)


class PatchHeads(nn.Module):
    """An MLP for each tap, on the vectors of some places of its map."""

    def __init__(self, inputs: Sequence[int], width: int = 256):
        super().__init__()
        for i, n in enumerate(inputs):
            mlp = nn.Sequential(nn.Linear(n, width), nn.ReLU(), nn.Linear(width, width))
            self.add_module(f"mlp_{i}", mlp)
        self.apply(initialize)

    def forward(
        self, maps: Sequence[torch.Tensor], places: Sequence[torch.Tensor]
    ) -> list[torch.Tensor]:
        """Unit vectors [B P, width] of the places int64 [P] of each map [B, C, H, W]."""
        heads = self.children()
        return [
            normalize(head(x.permute(0, 2, 3, 1).flatten(1, 2)[:, at].flatten(0, 1)))
            for head, x, at in zip(heads, maps, places, strict=True)
        ]


def initialize(layer: nn.Module) -> None:
    """The release's default: Glorot's normal initialisation with gain 0.02, biases 0."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.xavier_normal_(layer.weight, gain=0.02)
        nn.init.zeros_(layer.bias)


def normalize(x: torch.Tensor) -> torch.Tensor:
    """Rows [N, D] of length 1."""
    return x / (x.pow(2).sum(dim=1, keepdim=True).sqrt() + 1e-7)


def draw_places(maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Up to PATCHES distinct places of each map, int64 [P], counted row by row."""
    return [torch.randperm(x.shape[2] * x.shape[3])[:PATCHES] for x in maps]


def patchnce(queries: torch.Tensor, keys: torch.Tensor, images: int) -> torch.Tensor:
    """Cross entropy [B P] of each query finding its own key among those of its image.

    Args:
      queries, keys: unit vectors [B P, D]; keys get no gradient.
      images: B.
    """
    rows, width = queries.shape
    keys = keys.detach()
    own = (queries * keys).sum(dim=1, keepdim=True)
    queries, keys = (x.view(images, -1, width) for x in (queries, keys))
    others = torch.bmm(queries, keys.transpose(1, 2))
    diagonal = torch.eye(queries.shape[1], dtype=torch.bool)[None]
    others = others.masked_fill(diagonal, -10.0).view(rows, -1)
    logits = torch.cat([own, others], dim=1) / TEMPERATURE
    return F.cross_entropy(logits, torch.zeros(rows, dtype=torch.long), reduction="none")


def adversarial(name: str, logits: torch.Tensor, real: bool) -> torch.Tensor:
    """The mean loss of logits that should say `real`; `name` is one of ADVERSARIAL."""
    if name == "lsgan":
        return (logits - float(real)).pow(2).mean()
    if name in ("vanilla", "nonsaturating"):  # the same mean; the release adds them up differently
        return F.softplus(-logits if real else logits).mean()
    raise ValueError(f"loss {name!r}: one of {', '.join(ADVERSARIAL)}")


class Trainer:
    """Networks, optimisers and the step of CUT, with PatchNCE of translated targets (`nce_idt`)."""

    def __init__(
        self, channels: int = 3, width: int = 64, discriminator_width: int = 64, loss: str = "lsgan"
    ):
        self.loss = loss
        self.generator = Generator(channels, width)
        self.discriminator = Discriminator(channels, discriminator_width)
        self.heads = PatchHeads((channels, 2 * width, 4 * width, 4 * width, 4 * width))
        self.networks = self.generator, self.discriminator, self.heads
        self.optimizers = [
            torch.optim.Adam(n.parameters(), lr=2e-4, betas=(0.5, 0.999)) for n in self.networks
        ]

    def step(self, source: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
        """Updates the discriminator, then generator and heads, by images [B, C, H, W] in [-1, 1].

        Returns:
          The losses before the update.
        """
        of_generator, of_discriminator, of_heads = self.optimizers
        both = self.generator(torch.cat([source, target]))
        fake, same = both[: len(source)], both[len(source) :]

        self.discriminator.requires_grad_(True)
        of_discriminator.zero_grad()
        judged_fake = adversarial(self.loss, self.discriminator(fake.detach()), False)
        judged_real = adversarial(self.loss, self.discriminator(target), True)
        d_loss = 0.5 * (judged_fake + judged_real)
        d_loss.backward()
        of_discriminator.step()

        self.discriminator.requires_grad_(False)
        of_generator.zero_grad()
        of_heads.zero_grad()
        g_adv = adversarial(self.loss, self.discriminator(fake), True)
        nce, nce_same = self.contrast(source, fake), self.contrast(target, same)
        (g_adv + 0.5 * (nce + nce_same)).backward()
        of_generator.step()
        of_heads.step()
        terms = {"d_loss": d_loss, "g_adv": g_adv, "nce": nce, "nce_idt": nce_same}
        return {name: term.item() for name, term in terms.items()}

    def contrast(self, source: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """The mean over TAPS of PatchNCE; the release computes the maps of `source` anew."""
        found = self.generator.features(output)
        known = self.generator.features(source)
        places = draw_places(known)
        pairs = zip(self.heads(found, places), self.heads(known, places), strict=True)
        losses = [patchnce(q, k, len(source)).mean() for q, k in pairs]
        return torch.stack(losses).mean()
