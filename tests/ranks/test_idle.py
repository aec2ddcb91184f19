"""What a process without data left trains on in vain."""

from types import SimpleNamespace

from mvlm_plugin.ranks import keep_training_batch


def test_it_is_a_training_batch_also_after_a_validation() -> None:
    seen = []
    trainer = SimpleNamespace(_dummy_batch="DUMMY")
    trainer.reset_dummy_batch = lambda batch: setattr(trainer, "_dummy_batch", batch)
    trainer.get_train_iterator = lambda epoch: trainer.reset_dummy_batch(f"first of epoch {epoch}")
    trainer.train_step = lambda samples: seen.append(trainer._dummy_batch)
    keep_training_batch(trainer)
    trainer.get_train_iterator(1)
    trainer.reset_dummy_batch("validation")  # as fairseq's get_valid_iterator() does
    trainer.train_step([])
    trainer.get_train_iterator(2)
    trainer.train_step([])
    assert seen == ["first of epoch 1", "first of epoch 2"]
