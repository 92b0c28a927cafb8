"""Programs that time other packages as this library is timed; each is a command that ends with a
line of JSON and needs its package alone, or that one beside this library.

  sessions      NC-FSCIL's sessions on kept features in plain PyTorch, of the part sessions
  adversarial   steps of adversarial training in plain PyTorch, of the part robust
  dawid_skene   Dawid and Skene's estimate of a large crowd, by crowd-kit
  selection     nearest neighbours of many embeddings, by scikit-learn
  autoattack    AutoAttack on one small network, by torchattacks
"""
