"""Training: a recipe's runs, from data to weights.

In reading order:

1. ``resolve``: a recipe becomes resolved runs; ``checks``: the data of a run.
2. ``run``: the runs in a plain loop; ``resuming``, ``pretrained``: new, resumed or fine-tuned.
3. ``loop``: the steps of one run; ``data``: its batches; ``ema``, ``batch_norm``,
   ``validation``: the weights that are validated.
4. ``checkpoint``, ``log``, ``experiment``: the files of its folder; ``packaging``: export.
"""
