"""The release's training step in PyTorch, which ours is timed against."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
cut = pytest.importorskip("reference_torch.cut")

CLOSE = dict(rtol=1e-4, atol=5e-5)


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def filled(network, arrays, prefix):
    """The network with all the weights of reference numbers, by their names."""
    found = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    network.load_state_dict({k: torch.from_numpy(v) for k, v in found.items()}, strict=True)
    return network


def test_the_networks_have_the_release_s_numbers_of_parameters():
    trainer = cut.Trainer()
    networks = trainer.generator, trainer.discriminator, trainer.heads
    assert [parameters(n) for n in networks] == [11_378_179, 2_764_737, 560_384]
    assert parameters(cut.Generator(blocks=6)) == 7_837_699


def test_the_generator_its_maps_and_its_gradient(golden):
    numbers = golden("07_cut_networks.npz")
    network = filled(cut.Generator(width=4), numbers, "w.G.")
    image = torch.from_numpy(numbers["in.image"]).requires_grad_()
    made = network(image)
    made.backward(torch.from_numpy(numbers["in.cotangent"]))
    np.testing.assert_allclose(made.detach(), numbers["out.G.image"], **CLOSE)
    np.testing.assert_allclose(image.grad, numbers["grad.G.image"], rtol=1e-3, atol=5e-5)
    maps = network.features(image)
    for place, x in zip(cut.TAPS, maps, strict=True):
        np.testing.assert_allclose(x.detach(), numbers[f"out.G.feat{place}"], **CLOSE)


def test_the_discriminator_and_its_losses(golden):
    numbers = golden("07_cut_networks.npz")
    network = filled(cut.Discriminator(width=4), numbers, "w.D.")
    logits = network(torch.from_numpy(numbers["in.image"])).detach()
    np.testing.assert_allclose(logits, numbers["out.D.map"], **CLOSE)
    for name in cut.ADVERSARIAL:
        for real, which in ((True, "real"), (False, "fake")):
            expected = numbers[f"out.gan.{name}.{which}"].mean()
            assert cut.adversarial(name, logits, real) == pytest.approx(expected, rel=1e-4)


def test_vectors_of_patches_and_their_loss(golden):
    numbers = golden("07b_patchnce.npz")
    maps = {
        kind: [torch.from_numpy(numbers[f"in.feat_{kind}{i}"]) for i in range(3)] for kind in "qk"
    }
    places = [torch.from_numpy(numbers[f"in.patch_ids{i}"]).long() for i in range(3)]
    heads = filled(cut.PatchHeads([x.shape[1] for x in maps["q"]], width=8), numbers, "w.F.")
    for x in maps["q"]:
        x.requires_grad_()
    queries, keys = heads(maps["q"], places), heads(maps["k"], places)
    losses = [cut.patchnce(q, k, images=2) for q, k in zip(queries, keys, strict=True)]
    for i, (query, loss) in enumerate(zip(queries, losses, strict=True)):
        np.testing.assert_allclose(query.detach(), numbers[f"out.mlp.sample_q{i}"], **CLOSE)
        expected = numbers[f"out.mlp.imgneg.loss_per_patch{i}"]
        np.testing.assert_allclose(loss.detach(), expected, **CLOSE)
    torch.stack([x.mean() for x in losses]).mean().backward()
    for i, x in enumerate(maps["q"]):
        expected = numbers[f"grad.mlp.imgneg.feat_q{i}"]
        np.testing.assert_allclose(x.grad, expected, rtol=1e-3, atol=1e-5)


def test_the_generator_learns_against_the_updated_discriminator():
    torch.manual_seed(0)
    trainer = cut.Trainer(width=4, discriminator_width=4)
    source, target = torch.rand(2, 1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        fake = trainer.generator(source)
        judged = [trainer.discriminator(x) for x in (fake, target)]
    before = [[p.clone() for p in n.parameters()] for n in trainer.networks]
    terms = trainer.step(source, target)
    wrong = 0.5 * (judged[0].square().mean() + (judged[1] - 1).square().mean())
    assert terms["d_loss"] == pytest.approx(wrong.item(), rel=1e-5)
    with torch.no_grad():
        updated = (trainer.discriminator(fake) - 1).square().mean().item()
    assert terms["g_adv"] == pytest.approx(updated, rel=1e-5)
    # The first step of Adam moves a parameter by the learning rate, except where a norm
    # takes the mean away and the gradient is 0 but for rounding.
    for network, old in zip(trainer.networks, before, strict=True):
        moved = [(p - q).abs().max().item() for p, q in zip(network.parameters(), old, strict=True)]
        assert max(moved) == pytest.approx(2e-4, rel=1e-2)
        assert min(moved) > 0.0
