"""Two doors for people who do not type: a web app on this machine, and a node of the PACS.

Both put studies into a queue of jobs on disk (:mod:`~gliodistill.serve.jobs`), which a worker
process (:mod:`~gliodistill.serve.worker`) takes one by one. Nothing imports this package but the
commands ``serve`` and ``pacs``. ``pip install 'gliodistill[serve]'`` brings what it needs.
"""
