"""Plain PyTorch programs that the benchmark times in turn with this library: each is a command that
needs PyTorch alone, takes the flags of its part and ends with a line of JSON.

  sessions   NC-FSCIL's sessions on kept features, of the part sessions
"""
