"""Base networks by reconstruction: a vision transformer is pre-trained on the base images without
labels, and goes on reconstructing, features this time, while it learns to classify them.

Both need a decoder, which is thrown away. What stays is an encoder with its head, as any base
network.
"""

import dataclasses
import os
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from jaxdistill import draws, errors, files
from jaxdistill.data import Dataset
from jaxdistill.data.examples import Examples
from jaxdistill.experiment import kept, schema
from jaxdistill.fscil import recipes
from jaxdistill.models.generative import GenerativeClassifier
from jaxdistill.models.heads import EtfHead, Headed
from jaxdistill.models.mae import Decoder, MaskedAutoencoder
from jaxdistill.models.mae_vit import MaeViT
from jaxdistill.numerics import settled
from jaxdistill.training import groups, loop, parallel, reconstruction, surroundings
from jaxdistill.training.learner import Objective
from jaxdistill.training.problem import Problem
from jaxdistill.training.recipe import Recipe
from jaxdistill.training.run import Run

PHASE = 'pretrain'


@dataclasses.dataclass(frozen=True)
class Generative:
  """What a decoder has to do with the training of base networks; off by default."""

  alpha: float = schema.field(
    0.0, at_least=0, help='weight of the reconstruction of features in base training; 0: no decoder'
  )
  mask_ratio: float = schema.field(
    0.75, at_least=0, below=1, help='share of the tokens that the decoder is not given'
  )
  recon_on: str = schema.field(
    'all', choices=reconstruction.RECONSTRUCTED, help='the tokens whose reconstruction counts'
  )
  stop_target: bool = schema.field(
    True, help='whether the features are a constant where they are the target'
  )
  normalise_target: bool = schema.field(
    False, help='whether the target is normalised token by token'
  )
  decoder_width: int = schema.field(96, at_least=4, help="numbers of the decoder's tokens")
  decoder_depth: int = schema.field(2, at_least=1, help='blocks of the decoder')
  layer_decay: float = schema.field(
    1.0,
    at_least=0,
    help='factor to the learning rate from a block to the one before it; 1: all learn at one rate',
  )
  pretrain_recipe: str = schema.field(
    'mae', choices=tuple(recipes.RECIPES), kind='recipe', help='of the pre-training on pixels'
  )
  pretrain_epochs: int = schema.field(
    0, at_least=0, help='passes over the base images without labels; 0: no pre-training'
  )
  pretrain_steps: int = schema.field(0, at_least=0, help='its steps; 0: from the epochs')
  pretrain_learning_rate: float = schema.field(0.0, at_least=0, help="0: the recipe's")
  pretrain_mask_ratio: float = schema.field(
    0.75, at_least=0, below=1, help='share of the patches that are masked in it'
  )
  normalise_pixels: bool = schema.field(
    True, help='whether it aims at patches less their mean and by their standard deviation'
  )

  @property
  def is_used(self) -> bool:
    """Whether there is anything to do."""
    return bool(self.alpha or self.pretrain_epochs or self.layer_decay != 1)

  def described(self) -> dict[str, Any]:
    """Returns what of base training decides what the networks become; {} where nothing is on."""
    names = ('alpha', 'mask_ratio', 'recon_on', 'stop_target', 'normalise_target')
    switches = {name: getattr(self, name) for name in names} if self.alpha else {}
    return switches if self.layer_decay == 1 else {**switches, 'layer_decay': self.layer_decay}

  def decoder(self, outputs: int) -> Decoder:
    """Returns a decoder of so many numbers a token."""
    decoder = Decoder(outputs, width=self.decoder_width, depth=self.decoder_depth)
    decoder.check()
    return decoder

  def check(self, encoder: nn.Module) -> None:
    """Raises `UserError` where the encoder or the fields do not allow what is asked for."""
    if not self.is_used:
      return
    if not isinstance(encoder, MaeViT):
      raise errors.UserError(
        'alpha, layer_decay and pretrain_epochs of the section generative are for the model '
        f'mae_vit; this run has {type(encoder).__name__}.'
      )
    self.objective(self.model(Headed(encoder, None)), base_classes=0)
    if self.pretrain_epochs:
      model = autoencoder(self, encoder, channels=1)
      reconstruction.pixels(model, mask_ratio=self.pretrain_mask_ratio)

  def model(self, network: Headed) -> GenerativeClassifier:
    """Returns what is trained in place of a base network: the same with a decoder of features.

    Raises:
      UserError: for a head that is not trained by cross-entropy.
    """
    if isinstance(network.head, EtfHead):
      raise errors.UserError(
        'generative.alpha goes with a head that is trained by cross-entropy, not with etf: set it '
        'to 0, or another base_training.head.'
      )
    return GenerativeClassifier(network.encoder, network.head, self.decoder(network.encoder.width))

  def objective(
    self, model: GenerativeClassifier, base_classes: int, label_smoothing: float = 0.0
  ) -> Objective:
    """Returns what that is trained for, see `reconstruction.features`.

    Args:
      model: from `model`.
      base_classes: B; the columns behind them have no part in the softmax.
      label_smoothing: of the cross-entropy.
    """
    return reconstruction.features(
      model,
      alpha=self.alpha,
      mask_ratio=self.mask_ratio,
      recon_on=self.recon_on,
      stop_target=self.stop_target,
      normalise_target=self.normalise_target,
      num_classes=base_classes,
      label_smoothing=label_smoothing,
    )

  def grouped(self, recipe: Recipe, model: nn.Module, image_shape: tuple[int, int, int]) -> Recipe:
    """Returns a recipe of base training in which the blocks of the encoder learn the slower, the
    nearer they are to the image, see `groups.layerwise`; the recipe itself for a decay of 1.

    Args:
      recipe: of base training.
      model: what is trained, whose encoder is a `MaeViT`.
      image_shape: (height, width, channels).

    Source: MAE's fine-tuning (He et al., CVPR 2022), there 0.65 for ViT-B. Vectors do not decay:
    biases, norms, the class token, learned positions.
    """
    if self.layer_decay == 1:
      return recipe
    image = jax.ShapeDtypeStruct((1, *image_shape), np.float32)
    params = jax.eval_shape(model.init, draws.key(0), image)['params']
    tokens = [f'encoder/{name}' for name in ('cls', 'positions') if name in params['encoder']]
    blocks = [(f'encoder/block{number}',) for number in range(1, model.encoder.depth + 1)]
    stages = (('encoder/patches', *tokens), *blocks)
    grouped = groups.layerwise(params, stages, self.layer_decay, undecayed=tokens)
    return dataclasses.replace(recipe, groups=grouped)


def without_decoder(variables: Any) -> Any:
  """Returns the variables of base networks without the part 'decoder'.

  >>> without_decoder({'params': {'encoder': 1, 'head': 2, 'decoder': 3}})
  {'params': {'encoder': 1, 'head': 2}}
  """
  kept = {}
  for name, tree in variables.items():
    kept[name] = {part: leaf for part, leaf in tree.items() if part != 'decoder'}
  return kept


def autoencoder(generative: Generative, encoder: MaeViT, channels: int) -> MaskedAutoencoder:
  """Returns the network of the pre-training, whose decoder paints patches."""
  return MaskedAutoencoder(encoder, generative.decoder(encoder.patch**2 * channels))


@settled()
def setup(
  encoder: MaeViT,
  images: Dataset,
  generative: Generative,
  recipe: Recipe,
  *,
  seed: int = 0,
  mesh: Mesh | None = None,
) -> Problem:
  """Returns the pre-training, ready for the loop or for an estimate, see `pretrain`."""
  model = autoencoder(generative, encoder, images.image_shape[-1])
  objective = reconstruction.pixels(
    model,
    mask_ratio=generative.pretrain_mask_ratio,
    normalise_target=generative.normalise_pixels,
  )
  recipe = recipe if images.flip else recipe.unmirrored()
  return reconstruction.setup(
    model,
    Examples.of(images),
    recipe,
    objective,
    seed=seed,
    num_steps=generative.pretrain_steps,
    mesh=mesh,
  )


@settled()
def pretrain(
  run: Run,
  encoder: MaeViT,
  images: Dataset,
  generative: Generative,
  recipe: Recipe,
  *,
  seed: int = 0,
  mesh: Mesh | None = None,
  directory: str | os.PathLike | None = None,
) -> dict[str, Any]:
  """Pre-trains an encoder as a masked autoencoder, or reads it back where another run has left it.

  One encoder serves all base networks, as one checkpoint of a large set would.

  Args:
    run: keeps metrics and checkpoints under the phase 'pretrain'.
    encoder: without weights.
    images: the base images, whose labels are not looked at.
    generative: how much is masked, and the decoder.
    recipe: how long and how.
    seed: of weights, order, views and masks.
    mesh: the devices.
    directory: where finished encoders are kept for other runs; None: nowhere.

  Returns:
    {'params': {'encoder': ...}}, to begin base training with.

  Source: He et al., CVPR 2022 (MAE), on the images that there are.
  """

  def compute():
    problem = setup(encoder, images, generative, recipe, seed=seed, mesh=mesh)
    state = loop.fit(run, PHASE, problem, keep_final=False)
    params = parallel.on_host(state.scored, 0)['params']
    return {'encoder': params['encoder']}

  def template():
    model = autoencoder(generative, encoder, images.image_shape[-1])
    form = jax.eval_shape(reconstruction.initialiser(model, images.image_shape), draws.key(0))
    return {'encoder': form['params']['encoder']}

  key = identity(encoder, images, generative, recipe, seed=seed)
  encoded = kept.tree_once(run, directory, key, compute, template)
  run.discard(PHASE)
  return {'params': encoded}


def identity(
  encoder: MaeViT, images: Dataset, generative: Generative, recipe: Recipe, *, seed: int = 0
) -> str:
  """Returns the hash of everything that decides what a pre-trained encoder becomes."""
  recipe = recipe if images.flip else recipe.unmirrored()
  return files.content_hash(
    (images.images,),
    dict(
      what='pre-trained encoder',
      model=repr(autoencoder(generative, encoder, images.image_shape[-1])),
      recipe=recipe.described(),
      mask_ratio=generative.pretrain_mask_ratio,
      normalise_pixels=generative.normalise_pixels,
      steps=generative.pretrain_steps,
      mean=images.mean,
      std=images.std,
      seed=seed,
      **surroundings.described(),
    ),
  )
