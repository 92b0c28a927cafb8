"""The losses of distillation by the book: float64, one example, pair or triple at a time."""

import itertools

import numpy as np


def softmax(row):
  powers = np.exp(row - row.max())
  return powers / powers.sum()


def divergence(p, q):
  return sum(a * np.log(a / b) for a, b in zip(p, q) if a > 0)


def unit(vector):
  length = np.sqrt((vector**2).sum())
  return vector / length if length > 0 else vector


def cosine(u, v):
  return float(unit(u) @ unit(v))


def huber(x):
  return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def kd(student, teacher, temperature=4.0):
  losses = [
    divergence(softmax(t / temperature), softmax(s / temperature)) for s, t in zip(student, teacher)
  ]
  return temperature**2 * np.mean(losses)


def dkd(student, teacher, labels, alpha=1.0, beta=2.0, temperature=4.0):
  total = 0.0
  for s, t, label in zip(student, teacher, labels):
    p, q = softmax(t / temperature), softmax(s / temperature)
    others = [c for c in range(len(p)) if c != label]
    total += alpha * divergence((p[label], p[others].sum()), (q[label], q[others].sum()))
    total += beta * divergence(p[others] / p[others].sum(), q[others] / q[others].sum())
  return temperature**2 * total / len(student)


def dist(student, teacher):
  p, q = (np.stack([softmax(row) for row in side]) for side in (teacher, student))

  def mean_correlation(a, b):
    return np.mean([np.corrcoef(u, v)[0, 1] for u, v in zip(a, b)])

  return 2 - mean_correlation(p, q) - mean_correlation(p.T, q.T)


def fitnet(student, teacher):
  return np.mean((student - teacher) ** 2)


def pool(maps, size):
  """The means over PyTorch's adaptive windows of a square map."""
  n, h, w, c = maps.shape
  small = np.zeros((n, size, size, c))
  for i, j in itertools.product(range(size), repeat=2):
    down = slice(i * h // size, -(-(i + 1) * h // size))
    across = slice(j * w // size, -(-(j + 1) * w // size))
    small[:, i, j] = maps[:, down, across].mean((1, 2))
  return small


def attention(image):
  return unit((image**2).mean(-1).ravel())


def attention_transfer(student, teacher):
  total = 0.0
  for s, t in zip(student, teacher):
    total += np.mean([(attention(a) - attention(b)) ** 2 for a, b in zip(s, t)])
  return total


def ft(student, teacher):
  return np.mean([np.abs(attention(s) - attention(t)) for s, t in zip(student, teacher)])


def nst(student, teacher):
  total = 0.0
  for s, t in zip(student, teacher):
    own, other = ([unit(side[..., c].ravel()) for c in range(side.shape[-1])] for side in (s, t))
    kernel = lambda a, b: np.mean([(u @ v) ** 2 for u, v in itertools.product(a, b)])
    total += kernel(own, own) + kernel(other, other) - 2 * kernel(own, other)
  return total / len(student)


def vid(mean, teacher, scale):
  variance = np.log(1 + np.exp(scale)) + 1e-5
  return np.mean(0.5 * ((mean - teacher) ** 2 / variance + np.log(variance)))


def reviewkd(student, teacher):
  total = 0.0
  for s, t in zip(student, teacher):
    factors, errors = [1.0], [np.mean((s - t) ** 2)]
    for size in (4, 2, 1):
      if size < s.shape[1]:
        factors.append(factors[-1] / 2)
        errors.append(np.mean((pool(s, size) - pool(t, size)) ** 2))
    total += np.dot(factors, errors) / sum(factors)
  return total


def ab(student, teacher, margin=1.0):
  total = 0.0
  for stage, (s, t) in enumerate(zip(student, teacher)):
    loss = 0.0
    for a, b in zip(s.ravel(), t.ravel()):
      if b > 0:
        loss += (a - margin) ** 2 if a <= margin else 0
      else:
        loss += (a + margin) ** 2 if a > -margin else 0
    total += 2.0 ** (stage + 1 - len(student)) * 3 / 1000 * loss / len(s)
  return total


def ofd(student, teacher, margins):
  total = 0.0
  for stage, (s, t, margin) in enumerate(zip(student, teacher, margins)):
    loss = 0.0
    for at in np.ndindex(s.shape):
      a, b, m = s[at], t[at], margin[at[-1]]
      if b > 0 or (b > m and a > b):
        loss += (a - b) ** 2
      elif b <= m and a > m:
        loss += (a - m) ** 2
    total += loss / len(s) / 2 ** (len(student) - stage - 1)
  return total


def fsp(student, teacher):
  def flow_of(side, image):
    bottom, top = side[0][image], side[1][image]
    small = pool(bottom[None], top.shape[0])[0]
    pixels = [small[i, j][:, None] * top[i, j][None] for i, j in np.ndindex(*top.shape[:2])]
    return np.mean(pixels, 0)

  images = range(len(student[0]))
  return np.mean([(flow_of(student, i) - flow_of(teacher, i)) ** 2 for i in images])


def kdsvd(student, teacher):
  """With one vector a layer."""
  total = 0.0
  for image in range(len(student[0])):
    vectors = []
    for s, t in zip(student, teacher):
      s, t = (side[image].reshape(-1, side.shape[-1]) for side in (s, t))
      (target, *_), candidates = np.linalg.svd(t)[2], np.linalg.svd(s)[2][: min(4, *s.shape)]
      target = target * np.sign(target[np.argmax(np.abs(target))])
      cosines = candidates @ target
      best = np.argmax(np.abs(cosines))
      vectors.append((candidates[best] * np.sign(cosines[best]), target))
    for (s, t), (s_before, t_before) in zip(vectors[1:], vectors):
      relation = lambda v, before: np.exp(-((v[:, None] - before[None]) ** 2) / 8)
      total += ((relation(s, s_before) - relation(t, t_before)) ** 2).sum()
  return total / len(student[0])


def scaled_distances(points):
  distances = np.array([[np.linalg.norm(u - v) for v in points] for u in points])
  return distances / distances[distances > 0].mean()


def rkd_distance(student, teacher):
  difference = scaled_distances(student) - scaled_distances(teacher)
  return np.mean([huber(x) for x in difference.ravel()])


def rkd_angle(student, teacher):
  total, n = 0.0, len(student)
  for i, j, k in itertools.product(range(n), repeat=3):
    angle = lambda f: unit(f[i] - f[j]) @ unit(f[i] - f[k])  # noqa: B023
    total += huber(angle(student) - angle(teacher))
  return total / n**3


def rkd(student, teacher):
  return 25 * rkd_distance(student, teacher) + 50 * rkd_angle(student, teacher)


def similarity_preserving(student, teacher):
  gram = lambda x: np.stack([unit(row) for row in x @ x.T])
  return np.mean((gram(student) - gram(teacher)) ** 2)


def correlation_congruence(student, teacher):
  delta = np.abs(student - teacher)
  return np.mean([u @ v for u, v in zip(delta, delta[1:])])


def pkt(student, teacher):
  def probabilities(points):
    near = np.array([[(cosine(u, v) + 1) / 2 for v in points] for u in points])
    return near / near.sum(1, keepdims=True)

  p, q = probabilities(teacher), probabilities(student)
  return np.mean(p * np.log((p + 1e-7) / (q + 1e-7)))


def point_order(student, teacher):
  return np.mean([((unit(s) - unit(t)) ** 2).sum() for s, t in zip(student, teacher)])


def group_order(student, teacher, temperature=0.1):
  total, n = 0.0, len(student)
  for i in range(n):
    others = [j for j in range(n) if j != i]
    p, q = (
      softmax(np.array([cosine(side[i], side[j]) / temperature for j in others]))
      for side in (teacher, student)
    )
    total += divergence(p, q)
  return total / n


def horkd(student, teacher):
  return point_order(student, teacher) + rkd(student, teacher)


def cross_contrast(anchors, keys, labels, temperature=0.07):
  total, n = 0.0, len(anchors)
  for i in range(n):
    candidates = [i] + [j for j in range(n) if labels[j] != labels[i]]
    scores = np.array([cosine(anchors[i], keys[j]) / temperature for j in candidates])
    total -= np.log(softmax(scores)[0])
  return total / n


def in_batch_crd(student, teacher, labels):
  return cross_contrast(student, teacher, labels) + cross_contrast(teacher, student, labels)


def relational_contrast(own, cross, labels, temperature=0.1, noise=1.0):
  losses, n = [], len(labels)
  for i, j in itertools.permutations(range(n), 2):
    critic = lambda u, v: 1 / (1 + noise * np.exp(-cosine(u, v) / temperature))
    loss = -np.log(critic(own[i, j], cross[i, j]))
    for k in range(n):
      if k != i and labels[k] != labels[j]:
        loss -= np.log(1 - critic(own[i, j], cross[i, k]))
    losses.append(loss)
  return np.mean(losses)
