"""Exceptions of libraries during training become errors that say what to do."""

from __future__ import annotations

import errno
import pickle

import pytest
import torch

from flipkd.errors import ConfigError, RefusedError, ResourceError
from flipkd.training.run_errors import explain_errors


@pytest.mark.parametrize(
    "raised, expected, message",
    [
        (torch.OutOfMemoryError("CUDA out of memory"), ResourceError, "halve per_device_train_batch_size"),
        (OSError(errno.ENOSPC, "No space left"), ResourceError, "the disk is full"),
        (ImportError("apollo_torch"), ConfigError, "refuses the training arguments: apollo_torch"),
        (RuntimeError("DataLoader worker (pid 7) is killed"), ResourceError, "dataloader_num_workers=0"),
        (pickle.UnpicklingError("weights_only"), RefusedError, "holds a pickle that could run code"),
    ],
)
def test_explain_errors_names_cause_and_remedy(tmp_path, raised, expected, message):
    with pytest.raises(expected, match=message) as caught, explain_errors(tmp_path):
        raise raised
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize("raised", [RuntimeError("shapes differ"), KeyError("label")])
def test_explain_errors_lets_other_exceptions_pass(tmp_path, raised):
    with pytest.raises(type(raised)) as caught, explain_errors(tmp_path):
        raise raised
    assert caught.value is raised
