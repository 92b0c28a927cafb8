"""Losses as pure functions of arrays, safe under jit, grad and vmap.

`mmd` and `mean_discrepancy` compare two sets of features; `cross_entropy` scores logits, and
`weighted_mean` is how its padding counts nowhere; `feature_retention` and `structure_retention` say
what a new classifier has kept of the one before it. Where classes are directions, `cosine_logits`
scores features by them, `etf` spreads them evenly, and `dot_regression` pulls features onto them.

What a student learns from a teacher, by what is compared:

  logits           kd, dkd, dist, each also of standardize_logits
  maps             fitnet, attention_transfer, ft, nst, vid, reviewkd; before their ReLU ab, ofd
  layers           fsp, kdsvd
  relations        rkd (rkd_distance, rkd_angle), similarity_preserving, correlation_congruence,
                   pkt, horkd (point_order, rkd_distance, rkd_angle, group_order)
  contrast         in_batch_crd, cross_contrast, relational_contrast; crd with a bank, queued_crd

`DISTILLATION` has those without a state by name; crd and queued_crd stand apart, as they take a
bank or a queue and give it back changed beside the loss. All take `weight`, of the rows of the
global batch: a row of weight 0 neither gives nor receives. They stop no gradient.
"""

from jaxdistill.losses.activations import ab, ofd, ofd_margin
from jaxdistill.losses.banks import crd, crd_bank, crd_queue, queued_crd
from jaxdistill.losses.classification import cross_entropy, weighted_mean
from jaxdistill.losses.contrastive import cross_contrast, in_batch_crd, relational_contrast
from jaxdistill.losses.discrepancy import KERNELS, mean_discrepancy, mmd
from jaxdistill.losses.distillation import dist, dkd, kd, standardize_logits
from jaxdistill.losses.features import attention_transfer, fitnet, ft, nst, reviewkd, vid, vid_scale
from jaxdistill.losses.layers import fsp, kdsvd
from jaxdistill.losses.negatives import by_class, draw_negatives
from jaxdistill.losses.orders import group_order, horkd, point_order
from jaxdistill.losses.prototypes import cosine_logits, dot_regression, etf
from jaxdistill.losses.relational import (
  correlation_congruence,
  pkt,
  rkd,
  rkd_angle,
  rkd_distance,
  similarity_preserving,
)
from jaxdistill.losses.retention import feature_retention, structure_retention, structure_weight
from jaxdistill.registry import Registry

# Name -> the loss of a student's outputs given a teacher's. Its first arguments, without defaults,
# are outputs of the batch; those with a default are settings, and `weight`.
DISTILLATION = Registry(
  'distillation loss',
  dict(
    ab=ab,
    attention_transfer=attention_transfer,
    correlation_congruence=correlation_congruence,
    cross_contrast=cross_contrast,
    dist=dist,
    dkd=dkd,
    fitnet=fitnet,
    fsp=fsp,
    ft=ft,
    group_order=group_order,
    horkd=horkd,
    in_batch_crd=in_batch_crd,
    kd=kd,
    kdsvd=kdsvd,
    nst=nst,
    ofd=ofd,
    pkt=pkt,
    point_order=point_order,
    relational_contrast=relational_contrast,
    reviewkd=reviewkd,
    rkd=rkd,
    rkd_angle=rkd_angle,
    rkd_distance=rkd_distance,
    similarity_preserving=similarity_preserving,
    vid=vid,
  ),
  labels=dict(
    ab='AB',
    attention_transfer='AT',
    correlation_congruence='CC',
    dist='DIST',
    dkd='DKD',
    fitnet='FitNet',
    fsp='FSP',
    ft='FT',
    horkd='HORKD',
    in_batch_crd='CRD in the batch',
    kd='KD',
    kdsvd='KDSVD',
    nst='NST',
    ofd='OFD',
    pkt='PKT',
    relational_contrast='CRRCD',
    reviewkd='ReviewKD',
    rkd='RKD',
    rkd_angle='RKD angle',
    rkd_distance='RKD distance',
    similarity_preserving='SP',
    vid='VID',
  ),
)

__all__ = [
  'DISTILLATION',
  'KERNELS',
  'ab',
  'attention_transfer',
  'by_class',
  'correlation_congruence',
  'cosine_logits',
  'crd',
  'crd_bank',
  'crd_queue',
  'cross_contrast',
  'cross_entropy',
  'dist',
  'dkd',
  'dot_regression',
  'draw_negatives',
  'etf',
  'feature_retention',
  'fitnet',
  'fsp',
  'ft',
  'group_order',
  'horkd',
  'in_batch_crd',
  'kd',
  'kdsvd',
  'mean_discrepancy',
  'mmd',
  'nst',
  'ofd',
  'ofd_margin',
  'pkt',
  'point_order',
  'queued_crd',
  'relational_contrast',
  'reviewkd',
  'rkd',
  'rkd_angle',
  'rkd_distance',
  'similarity_preserving',
  'standardize_logits',
  'structure_retention',
  'structure_weight',
  'vid',
  'vid_scale',
  'weighted_mean',
]
