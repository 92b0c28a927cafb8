"""Named subsets of ImageNet: the WordNet ids of their classes, which are the names of the folders, in label order."""

# Ten classes each. Nette and woof are those of fastai's Imagenette and Imagewoof; the others were put together by Cazenavette et
# al. (Dataset Distillation by Matching Training Trajectories, CVPR 2022). Lists and order as in DANCE's public code.
SUBSETS = {
    'nette': 'n01440764 n02102040 n02979186 n03000684 n03028079 n03394916 n03417042 n03425413 n03445777 n03888257',
    'woof': 'n02096294 n02093754 n02111889 n02088364 n02086240 n02089973 n02087394 n02115641 n02099601 n02105641',
    'meow': 'n02123045 n02123159 n02123394 n02123597 n02124075 n02129165 n02129604 n02128925 n02128757 n02127052',
    'squawk': 'n01806143 n02007558 n01818515 n02051845 n02056570 n01614925 n01843383 n01518878 n01860187 n01819313',
    'fruit': 'n07753275 n07753592 n07745940 n07747607 n07749582 n07768694 n07753113 n07720875 n07718472 n07760859',
    'yellow': 'n02206856 n12057211 n07753592 n07749582 n12144580 n04146614 n03530642 n02129165 n01773797 n01531178',
}


def names(classes: str) -> tuple[str, ...]:
  """Returns the folder names that `classes` stands for: those of a subset, or the comma-separated names themselves; () for ''.

  >>> names('nette')[0], names('cat, dog'), names('')
  ('n01440764', ('cat', 'dog'), ())
  """
  if classes in SUBSETS:
    return tuple(SUBSETS[classes].split())
  return tuple(name for name in map(str.strip, classes.split(',')) if name)
