"""Cross-modality encoders by name.

A fusion is a module with ``image_stream`` and ``text_stream``, each with the interface of ``CrossStream``: tokens of
size ``cfg.fusion_width`` in both modalities, ``project(context)`` once, ``forward(x, ..., rows, context_rows)`` for
pairs.
"""

from . import co_attention  # noqa: F401
