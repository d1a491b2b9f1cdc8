import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from drifting.evaluation.metrics import frechet
from drifting.evaluation.metrics.frechet import frechet_distance
from drifting.evaluation.moments import MomentAccumulator, Moments


def accumulated(rows, batch_size=100, **options):
    accumulator = MomentAccumulator(rows.shape[1], **options)
    for start in range(0, len(rows), batch_size):
        accumulator.update(jnp.asarray(rows[start : start + batch_size]))
    return accumulator.moments()


def exact(rows):
    rows = rows.astype(np.float64)
    return Moments(len(rows), rows.mean(0), np.cov(rows, rowvar=False))


def sqrtm_distance(a, b):
    cross = np.trace(scipy.linalg.sqrtm(a.covariance @ b.covariance).real)
    shift = np.sum((a.mean - b.mean) ** 2)
    return shift + np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross


@pytest.mark.parametrize("block_rows", [1, 256, 10_000])
def test_blocks_of_any_size_give_the_moments_of_the_whole(block_rows):
    rows = np.random.default_rng(0).gamma(2.0, size=(1037, 24)).astype(np.float32)
    rows[:500] += 3.0  # blocks differ in mean
    moments = accumulated(rows, batch_size=64, block_rows=block_rows)
    expected = exact(rows)
    assert moments.n == 1037
    assert moments.mean.dtype == moments.covariance.dtype == np.float64
    np.testing.assert_allclose(moments.mean, expected.mean, rtol=1e-6)
    np.testing.assert_allclose(moments.covariance, expected.covariance, rtol=2e-5, atol=2e-5)


def test_mean_of_a_thousand_deviations_loses_nothing():
    generator = np.random.default_rng(1)
    mixing = generator.normal(size=(96, 96)) / 10
    sets = []
    for shift in (1000.0, 1000.3):
        rows = generator.normal(size=(20_000, 96)) @ mixing
        sets.append((rows / rows.std(0) + shift).astype(np.float32))
    expected, found = [[moments(rows) for rows in sets] for moments in (exact, accumulated)]
    distance = frechet_distance(*expected)
    np.testing.assert_allclose(frechet_distance(*found), distance, rtol=1e-4)
    np.testing.assert_allclose(distance, sqrtm_distance(*expected), rtol=1e-8)
    for one, other in zip(expected, found, strict=True):  # float32 steps at 1000 are 6e-5
        np.testing.assert_allclose(one.mean, other.mean, rtol=0, atol=1e-6)
        np.testing.assert_allclose(one.covariance, other.covariance, rtol=0, atol=1e-5)


def test_moments_refuse_what_has_no_covariance():
    accumulator = MomentAccumulator(3)
    with pytest.raises(ValueError, match="at least 2 feature vectors, got 0"):
        accumulator.moments()
    accumulator.update(jnp.ones((1, 3)))
    with pytest.raises(ValueError, match="got 1"):
        accumulator.moments()
    with pytest.raises(ValueError, match=r"expected features \[B, 3\], got shape \(2, 4\)"):
        accumulator.update(jnp.ones((2, 4)))
    accumulator.update(jnp.full((1, 3), jnp.nan))
    with pytest.raises(ValueError, match="moments of 2 feature vectors are not finite"):
        accumulator.moments()


def test_low_rank_covariances_are_exact():
    # Both of rank 8 in 64 dimensions; the distance of projections to those 8 is the whole one.
    generator = np.random.default_rng(2)
    basis = np.linalg.qr(generator.normal(size=(64, 8)))[0]
    low = [generator.normal(size=(500, 8)) * scale for scale in (1.0, 1.7)]
    expected = frechet_distance(exact(low[0]), exact(low[1]))
    found = frechet_distance(exact(low[0] @ basis.T), exact(low[1] @ basis.T))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_constant_reference_leaves_shift_and_trace():
    constant = Moments(10, np.ones(4), np.zeros((4, 4)))
    other = Moments(10, np.zeros(4), np.diag([1.0, 2.0, 3.0, 4.0]))
    assert frechet_distance(constant, other) == pytest.approx(14.0)
    assert frechet_distance(other, constant) == pytest.approx(14.0)
    assert frechet_distance(constant, constant) == 0.0


def test_the_reference_is_decomposed_once(monkeypatch):
    calls = []
    eigh = scipy.linalg.eigh

    def counted(matrix, **options):
        calls.append(options.get("eigvals_only", False))
        return eigh(matrix, **options)

    monkeypatch.setattr(frechet.scipy.linalg, "eigh", counted)
    rows = np.random.default_rng(3).normal(size=(50, 6))
    reference = exact(rows)
    for shift in range(3):
        distance = frechet_distance(reference, exact(rows + shift))
        assert distance == pytest.approx(6.0 * shift**2, abs=1e-9)
    assert calls.count(False) == 1 and calls.count(True) == 3


def test_different_features_are_refused():
    with pytest.raises(ValueError, match="3 and 4 features"):
        frechet_distance(Moments(5, np.zeros(3), np.eye(3)), Moments(5, np.zeros(4), np.eye(4)))
    with pytest.raises(ValueError, match=r"\(3,\) and \(4, 4\)"):
        Moments(5, np.zeros(3), np.eye(4))


def test_features_may_be_sharded_over_devices():
    rows = np.random.default_rng(4).normal(size=(64, 5)).astype(np.float32)
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    accumulator = MomentAccumulator(5)
    accumulator.update(jax.device_put(rows, spread))
    np.testing.assert_allclose(
        accumulator.moments().covariance, exact(rows).covariance, rtol=1e-5, atol=1e-6
    )
