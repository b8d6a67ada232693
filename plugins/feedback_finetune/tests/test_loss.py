"""The loss against formulas written out by hand, and its gradients."""

from __future__ import annotations

import numpy as np
import torch

from safebench_feedback_finetune.train.loss import LossTargets, verdict_loss

LOGITS = torch.tensor([[0.3, -1.2], [2.0, 2.5], [-0.7, 0.1], [4.0, -4.0]])
LABEL = torch.tensor([1.0, 0.25, 0.0, 0.6])
CE = torch.tensor([1.0, 2.0, 0.5, 0.0])
BASE = torch.tensor([0.2, 0.7, 0.0, 1.0])
KL = torch.tensor([0.0, 1.0, 2.0, 0.5])
KL_FACTOR = 0.8


def _targets() -> LossTargets:
    return LossTargets(LABEL, CE, BASE, KL)


def _p() -> np.ndarray:
    safe, unsafe = np.exp(LOGITS.double().numpy()).T
    return np.asarray(unsafe / (safe + unsafe))


def _times_log(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a log b, 0 where a is."""
    return np.where(a > 0, a * np.log(np.where(a > 0, b, 1.0)), 0.0)


def test_loss_is_weighted_cross_entropy_and_divergence() -> None:
    """The mean over prompts of ce * CE + factor * kl * KL, by their definitions."""
    p, t, q = _p(), LABEL.double().numpy(), BASE.double().numpy()
    ce = -_times_log(t, p) - _times_log(1 - t, 1 - p)
    kl = _times_log(q, q) - _times_log(q, p)
    kl += _times_log(1 - q, 1 - q) - _times_log(1 - q, 1 - p)
    weights = CE.double().numpy(), KL_FACTOR * KL.double().numpy()
    expected = float(np.mean(weights[0] * ce + weights[1] * kl))
    actual = float(verdict_loss(LOGITS, _targets(), KL_FACTOR))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_gradients_are_differences_of_probabilities() -> None:
    """By the logit of unsafe: ce (p - t) + factor kl (p - q), over the batch size."""
    logits = LOGITS.clone().requires_grad_()
    torch.autograd.backward(verdict_loss(logits, _targets(), KL_FACTOR))
    p = _p()
    expected = CE.double().numpy() * (p - LABEL.double().numpy())
    expected += KL_FACTOR * KL.double().numpy() * (p - BASE.double().numpy())
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad[:, 1].numpy(), expected / 4, atol=1e-7)
    np.testing.assert_allclose(logits.grad[:, 0].numpy(), -expected / 4, atol=1e-7)


def test_divergence_vanishes_at_the_base_guard() -> None:
    """A guard that says what the base guard says has no loss and no gradient."""
    logits = LOGITS.double().requires_grad_()
    base = torch.softmax(LOGITS.double(), dim=-1)[:, 1]
    targets = LossTargets(LABEL, torch.zeros(4), base.float(), torch.ones(4))
    loss = verdict_loss(logits, targets, 1.0)
    torch.autograd.backward(loss)
    assert logits.grad is not None
    assert abs(float(loss.detach())) < 1e-6
    assert float(logits.grad.abs().max()) < 1e-6


def test_a_factor_of_0_switches_the_divergence_off() -> None:
    """Without a factor the divergence does not count, whatever its weights."""
    without_divergence = LossTargets(LABEL, CE, BASE, 0 * KL)
    expected = float(verdict_loss(LOGITS, without_divergence, 1.0))
    assert expected == float(verdict_loss(LOGITS, _targets(), 0.0))
