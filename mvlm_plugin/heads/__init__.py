"""What turns features into predictions: pixels, words, contrastive vectors, matched or not."""

from . import image_decoder  # noqa: F401
