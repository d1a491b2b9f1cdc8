def extrapolate(generate, noise, labels, null_label, cfg_scale, style, null_style):
    import jax.numpy as jnp
    guided = generate(noise, labels, cfg_scale, style)
    plain = generate(noise, jnp.full_like(labels, null_label), cfg_scale, null_style)
    return plain + cfg_scale[:, None, None, None] * (guided - plain)
