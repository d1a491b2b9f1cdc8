"""The values that every experiment starts from, and the only place where a key is declared.

A config file in this folder calls `get_config()` here and says only how it differs. The result is
locked: an unknown key, in a file or on the command line, is an error that names the nearest one.
Durations come in three units, of which one is set and the others are None: *_steps, *_epochs,
*_examples (real images seen).
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    """A drifting run."""
    config = _common()
    config.method = _drifting()
    config.field = _learned_field()
    config.model = _drift_dit()
    config.optimizer = _adamw()
    config.field_optimizer = _adamw()
    config.field_optimizer.learning_rate = 1e-3
    config.field_optimizer.warmup_steps = 100
    return config.lock()


def classifier() -> ConfigDict:
    """A classifier, validated on images that are kept out of training."""
    config = _common()
    config.method = _classifier()
    config.model = _classifier_network()
    config.optimizer = _sgd()
    config.ema_decay = 0.0
    config.data.num_val = 5000
    config.data.flip = True
    return config.lock()


def masked_autoencoder() -> ConfigDict:
    """A masked autoencoder, validated on images that are kept out of training."""
    config = _common()
    config.method = _masked_autoencoder()
    config.model = _masked_autoencoder_network()
    config.optimizer = _adamw()
    config.optimizer.schedule = "cosine"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.05
    config.data.num_val = 5000
    config.data.flip = True
    return config.lock()


def meanflow(network: str) -> ConfigDict:
    """MeanFlow, or flow matching, with a velocity network of VELOCITY_NETWORKS."""
    config = _common()
    config.method = _meanflow()
    config.model = VELOCITY_NETWORKS[network]()
    config.optimizer = _adamw()
    config.optimizer.update(weight_decay=0.0, beta2=0.999, clip_norm=0.0)
    config.eval.cfg_scale = 1.0
    return config.lock()


def _common() -> ConfigDict:
    config = ConfigDict()
    config.seed = 42
    config.precision = "float32"  # or bfloat16: compute only, parameters stay float32
    config.deterministic = False  # bit-reproducible also on GPUs, at some speed (README)
    config.ema_decay = 0.999  # of the averaged weights that are scored; 0: the weights themselves

    config.data = ConfigDict()
    config.data.source = "digits"  # input_pipeline/sources.py lists them
    config.data.split = "train"
    config.data.test_split = "test"  # real images never trained on, for evaluation
    config.data.num_val = 0  # of `split`, kept out of training: fixed, stratified (splits.py)
    config.data.split_seed = 42
    config.data.image_size = 8
    config.data.channels = 1
    config.data.fit = "resize"  # or pad: how images of another size are brought to image_size
    config.data.on_corrupt = "error"  # or skip: unreadable images of a folder are left out
    config.data.flip = False  # mirror real images at random
    # Read as it is trained on, for what does not fit the device; else all of it lives there.
    config.data.streaming = False
    config.data.read_threads = 8  # of a stream; as many batches are in the host's memory
    config.data.latent_scale = 0.18215  # times latents drawn from moments (latents.py)

    config.train = ConfigDict()
    for name, steps in (("total", 50_000), ("log", 50), ("sample", 1000), ("checkpoint", 2000)):
        config.train[f"{name}_steps"] = config_dict.placeholder(int)
        config.train[f"{name}_steps"] = steps
        config.train[f"{name}_epochs"] = config_dict.placeholder(float)
        config.train[f"{name}_examples"] = config_dict.placeholder(int)
    config.train.steps_per_epoch = 0  # 0: images of the data set / real images a step
    config.train.steps_per_call = 10  # steps a dispatch; the host looks in between
    config.train.keep_checkpoints = 3  # the newest that stay; the best of a classifier stays too
    config.train.keep_every_steps = 0  # checkpoints at multiples of this stay as well; 0: none
    config.train.tensorboard = True
    config.train.evaluate = False  # score every checkpoint by config.eval, as it is made

    config.mesh = ConfigDict()
    config.mesh.data = 0  # devices along the batch; 0: all that are left
    config.mesh.fsdp = 1  # devices over which parameters are split as well

    config.eval = ConfigDict()
    config.eval.num_samples = 50_000
    config.eval.batch_size = 256
    config.eval.cfg_scale = 1.5
    config.eval.seed = 42
    config.eval.features = "inception"  # or pixels, or encoder:<workdir>
    config.eval.fid_mode = "clean"  # or legacy_tensorflow, legacy_pytorch: how images are resized
    # fid, kid, is, prdc (precision, recall, density, coverage), mifid, neighbours (of pixels),
    # energy
    config.eval.metrics = ("fid",)
    return config


# --- methods -------------------------------------------------------------------------------------


def _drifting() -> ConfigDict:
    method = ConfigDict()
    method.name = "drifting"
    method.field = "kernel"  # or learned, which config.field and config.field_optimizer describe
    # distance: as released by the paper's authors, guidance by unconditional negatives.
    # sphere: on L2-normalised features, guidance by extrapolation from the null class.
    method.normalization = "distance"
    method.temperatures = (0.02, 0.05, 0.2)
    # The network whose features drift: the workdir of a classifier or masked autoencoder, or
    # torch:<network>:<file> with torchvision's weights. None: pixels.
    method.encoder = config_dict.placeholder(str)
    # pooled: the mean of each stage's map, the seed's way. locations: every place of the maps,
    # their means and deviations over patches, and the pixels, the paper's way.
    method.encoder_features = "pooled"
    method.encoder_every_block = 2  # locations: maps of every k-th block as well; 0: of none
    method.classes_per_step = 0  # 0: all classes
    method.num_generated = 32  # a class and step
    method.num_positives = 32  # a class and step
    method.num_unconditional = 16  # real negatives of any class, a class and step (distance)
    method.scale_per_label = False  # distance scale of each class, not of the whole batch
    method.drop_self_pairs = False  # a sample's affinity to itself is 0, not 1e-3
    method.cfg_min = 1.0
    method.cfg_max = 3.0
    method.cfg_power = 3.0  # p(s) ~ s^-power
    method.cfg_share_at_one = 0.5
    method.label_dropout = 0.1
    method.queue_size = 0  # images a class in a sample queue (128 originally); 0: whole set
    method.queue_push = 64  # fresh images a step into the queue
    method.micro_batches = 1  # exact; more saves memory and costs one more forward pass
    return method


def _learned_field() -> ConfigDict:
    """Of method.field = "learned"; a kernel field reads nothing of it."""
    field = ConfigDict()
    # What the field learns. lookahead: to bring samples near a second draw of positives in one
    # step. distill: the kernel field of all method.temperatures. frozen: nothing; it stays as it
    # was initialised, as in the system that it comes from.
    field.objective = "lookahead"
    field.steps = 1  # of the field a step of the generator; each draws positives of its own
    field.norm_penalty = 0.01  # times the field's mean square, in units of the mean distance
    field.mask_self = True  # a sample is not its own negative
    field.kernel_weight = 0.0  # of the multi-temperature kernel field that is added to the learned
    field.hidden = 256  # units between the two layers of the representation
    field.projection = 256  # values of a representation; 0: the features themselves
    field.score_hidden = 128  # hidden units of the network that scores pairs
    return field


def _classifier() -> ConfigDict:
    method = ConfigDict()
    method.name = "classifier"
    method.batch_size = 128
    method.micro_batches = 1  # parts of a batch whose gradients add up; exact, so no batch norm
    method.crop_padding = 4  # black pixels on each side before a random crop; 0: no crop
    method.label_smoothing = 0.0
    return method


def _masked_autoencoder() -> ConfigDict:
    method = ConfigDict()
    method.name = "mae"
    method.batch_size = 256
    method.crop_padding = 4
    method.mask_patch = 4  # side of a masked square, in pixels
    method.mask_ratio_min = 0.5  # the share of masked squares is drawn for each image
    method.mask_ratio_max = 0.75
    method.classification_weight = 0.0  # of a classification loss; reconstruction weighs the rest
    return method


def _meanflow() -> ConfigDict:
    """The values are those of the release for ImageNet latents (Geng et al., arXiv:2505.13447)."""
    method = ConfigDict()
    method.name = "meanflow"
    method.batch_size = 256
    method.micro_batches = 1  # parts of a batch whose gradients add up; exact
    # The share of a batch with r != t, which mean velocities are learned from; 0: flow matching.
    # Releases say 0.75 of either share: this one says which.
    method.share_r_neq_t = 0.25
    # meanflow: along e - x. improved: along the network's own velocity (iMF, arXiv:2512.02012).
    method.loss = "meanflow"
    method.norm_power = 1.0  # of the adaptive weight 1 / (|error|^2 + norm_epsilon)^norm_power
    method.norm_epsilon = 0.01
    method.times = "logit_normal"  # or uniform; r and t are two draws, in order
    method.times_mean = -0.4
    method.times_std = 1.0
    method.class_conditional = True
    method.label_dropout = 0.1  # trains the null class, which guidance needs
    # Guidance in training: of the target omega v + (1 - omega - kappa) u_null + kappa u_class, for
    # t in [start, end]; about a guidance scale of omega / (1 - kappa), at one evaluation a sample.
    method.guidance_omega = 1.0
    method.guidance_kappa = 0.0
    method.guidance_start = 0.0
    method.guidance_end = 1.0
    method.sampler = "meanflow"  # or euler, heun, rk4, on instantaneous velocities
    method.sampling_steps = 1
    method.num_diagnosed = 256  # samples of the energy distance and one-step error in training
    return method


# --- networks ------------------------------------------------------------------------------------


def _drift_dit() -> ConfigDict:
    model = ConfigDict()
    model.name = "drift_dit"
    model.size = "tiny"  # nano, tiny, small (models/dit.py)
    model.patch_size = 4
    model.num_registers = 8
    return model


def _classifier_network() -> ConfigDict:
    model = ConfigDict()
    model.name = "resnet18"  # mobilenetv2, resnet18, resnet50, convnext_tiny
    model.norm = "batch"  # or group; ConvNeXt has its own
    model.width = 1.0  # times the published number of channels
    model.stem = config_dict.placeholder(str)  # small, medium, imagenet; None: by the image size
    return model


def _masked_autoencoder_network() -> ConfigDict:
    model = ConfigDict()
    model.name = "mae_resnet"
    model.size = "mae_resnet"  # models/mae_resnet.py
    return model


def _mlp() -> ConfigDict:
    model = ConfigDict()
    model.name = "mlp"
    model.width = 256
    model.depth = 4
    model.frequencies = 2  # octaves of Fourier features of a point
    return model


def _cnn() -> ConfigDict:
    model = ConfigDict()
    model.name = "cnn"
    model.width = 64
    model.depth = 4
    return model


def _unet() -> ConfigDict:
    """The U-Net of MeanFlow's CIFAR-10 release (SongUNet of models/unet.py)."""
    model = ConfigDict()
    model.name = "unet"
    model.size = "ncsnpp"  # or nano, for two CPU cores
    model.dropout = 0.0
    model.remat = False  # activations are computed again in the backward pass: less memory
    return model


def _film_unet() -> ConfigDict:
    """An earlier system's U-Net (FilmUNet of models/unet.py)."""
    model = ConfigDict()
    model.name = "film_unet"
    model.size = "film"  # or film_wide, or nano, for two CPU cores
    model.dropout = 0.0
    model.remat = False
    return model


def _dit() -> ConfigDict:
    model = ConfigDict()
    model.name = "dit"
    model.size = "B"  # nano, S, B, M, L, XL (models/flow_dit.py)
    model.patch_size = 2
    model.position = "sincos"  # or learned
    model.time_planes = False  # r and t as two planes beside the image's channels
    model.shared_time = False  # one embedding of r and t, instead of one of t and one of t - r
    model.remat = False  # activations are computed again in the backward pass: less memory
    return model


VELOCITY_NETWORKS = {
    "mlp": _mlp,
    "cnn": _cnn,
    "unet": _unet,
    "film_unet": _film_unet,
    "dit": _dit,
}


# --- optimisers ----------------------------------------------------------------------------------


def _optimizer(name: str, **values: float) -> ConfigDict:
    optimizer = ConfigDict()
    optimizer.name = name
    optimizer.schedule = "constant"  # after the warm-up; or cosine, to 0 at the end
    optimizer.warmup_steps = 1000
    optimizer.clip_norm = 0.0  # 0: gradients are not clipped
    optimizer.update(values)
    return optimizer


def _adamw() -> ConfigDict:
    return _optimizer(
        "adamw", learning_rate=2e-4, beta1=0.9, beta2=0.95, weight_decay=0.01, clip_norm=2.0
    )


def _sgd() -> ConfigDict:
    """Nesterov momentum, half a cosine to 0."""
    optimizer = _optimizer("sgd", learning_rate=0.1, momentum=0.9, weight_decay=5e-4)
    optimizer.schedule = "cosine"
    return optimizer
